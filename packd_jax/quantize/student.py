"""Trained students, and the integers that they become.

`quantize_student` is the whole method on one screen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from packd_jax import metrics
from packd_jax.batching import subset_rows
from packd_jax.config import FeatureConfig, ModelConfig, TrainConfig
from packd_jax.ensemble import predict
from packd_jax.features import Examples, unpack_labels
from packd_jax.models import InputSpec, build_model
from packd_jax.quantize.fine_tune import FINE_TUNE, fine_tune
from packd_jax.quantize.integer_student import IntegerStudent
from packd_jax.quantize.post_training import (
    Scales,
    bounds,
    calibrate,
    choose_scales,
    quantize_network,
)
from packd_jax.quantize.token_network import TokenNetwork, token_network, token_steps

TOLERANCE = 0.005  # F1 on validation that quantisation may cost before training has to help
CALIBRATION_ROWS = 20_000


class FloatStudent(NamedTuple):
    """A trained student with the encoder of its inputs."""

    model: ModelConfig
    features: FeatureConfig
    clusters: int  # K of the cluster input, 0 without one
    params: Mapping[str, Any]
    pc_vocabulary: np.ndarray  # u64[V]
    threshold: float  # a logit

    @property
    def inputs(self) -> InputSpec:
        return InputSpec.of(self.features, self.clusters)


class Quantization(NamedTuple):
    """How integers came about: F1 on validation (NaN without rows to judge by)."""

    float_f1: float
    rounded_f1: float  # calibrated only
    f1: float
    fine_tuned: bool


def quantize_student(
    student: FloatStudent,
    train: Examples | None = None,
    validation: Examples | None = None,
    weight_bits: int = 8,
    tolerance: float = TOLERANCE,
    settings: TrainConfig = FINE_TUNE,
) -> tuple[IntegerStudent, Quantization]:
    """The student in integers, trained on if rounding alone costs more than `tolerance` of F1.

    Ranges are those of training rows, the threshold is the best on validation. Without
    examples the ranges are such that nothing can saturate, and the threshold stays. Raises
    ConfigError for a student that is no token_mlp over tokens.
    """
    network = token_network(student.params, student.model, student.inputs)
    steps = token_steps(student.inputs)
    if train is None or validation is None:
        scales = choose_scales(network, bounds(network, steps), steps, weight_bits)
        integers = _integers(network, scales, student, weight_bits)
        return integers, Quantization(np.nan, np.nan, np.nan, False)
    rows = subset_rows(train.rows, min(CALIBRATION_ROWS, train.rows), seed=0)
    ranges = calibrate(network, train.take(rows).inputs)
    scales = choose_scales(network, ranges, steps, weight_bits)
    integers = _integers(network, scales, student, weight_bits)
    rounded, rounded_f1 = _best_threshold(integers, validation)
    floats_f1 = float_f1(student, validation, validation)
    if floats_f1 - rounded_f1 <= tolerance:
        return rounded, Quantization(floats_f1, rounded_f1, rounded_f1, False)
    tuned = fine_tune(network, scales, train, validation, weight_bits, settings)
    integers = _integers(tuned, scales, student, weight_bits)
    better, f1 = _best_threshold(integers, validation)
    if f1 <= rounded_f1:
        return rounded, Quantization(floats_f1, rounded_f1, rounded_f1, False)
    return better, Quantization(floats_f1, rounded_f1, f1, True)


def integer_f1(student: IntegerStudent, examples: Examples) -> float:
    """Micro-averaged F1 of the bits at or above the threshold."""
    hits = predicted = truth = 0
    for part, logits in student.predict(examples.inputs):
        labels = unpack_labels(examples.labels[part]) == 1
        said = logits >= student.threshold
        hits += int((said & labels).sum())
        predicted += int(said.sum())
        truth += int(labels.sum())
    return 2 * hits / max(predicted + truth, 1)


def float_f1(student: FloatStudent, validation: Examples, judged: Examples) -> float:
    """F1 of the float student on `judged`, at the threshold that is best on validation."""
    best = metrics.best_threshold(_histogram(student, validation))
    return metrics.score_at(_histogram(student, judged), best).f1


def _integers(
    network: TokenNetwork, scales: Scales, student: FloatStudent, weight_bits: int
) -> IntegerStudent:
    steps = token_steps(student.inputs)
    return quantize_network(
        network,
        scales,
        steps,
        student.threshold,
        weight_bits,
        student.features,
        student.pc_vocabulary,
    )


def _best_threshold(student: IntegerStudent, validation: Examples) -> tuple[IntegerStudent, float]:
    """The student at the threshold that is best on validation, and its F1 there."""
    histogram = metrics.empty_histogram(1)
    scale = np.float32(student.logit_scale)
    for part, logits in student.predict(validation.inputs):
        scores = logits.astype(np.float32)[None] * scale
        histogram = histogram + metrics.score_histogram(scores, validation.labels[part])
    best = metrics.best_threshold(histogram.run(0))
    edge = best / metrics.BINS_PER_LOGIT - metrics.LIMIT
    chosen = dataclasses.replace(student, threshold=int(np.ceil(edge / student.logit_scale)))
    return chosen, integer_f1(chosen, validation)


def _histogram(student: FloatStudent, examples: Examples) -> metrics.ScoreHistogram:
    model = build_model(student.model, student.inputs)
    variables = jax.tree.map(lambda leaf: leaf[None], {"params": dict(student.params)})
    histogram = metrics.empty_histogram(1)
    for part, logits in predict(model, variables, examples.inputs):
        histogram = histogram + metrics.score_histogram(logits, examples.labels[part])
    return histogram.run(0)
