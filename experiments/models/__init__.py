"""Whole models to predict and to measure: `--model=experiments.models.NAME:FACTORY`.

Each file names its factories and their inputs. No module kind is fitted on them.
"""
