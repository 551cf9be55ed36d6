"""A collection of a few small modules, and what a file of it holds."""

from latency_jax.collection.dataset_file import FILE, read_lines
from latency_jax.config import CollectConfig


def tiny(**changes):
    usual = {
        "kinds": ("add",),
        "customizations": {"add": {"positions": "1:4", "features": "8:32"}},
        "configurations": 3,
        "minutes": 30.0,
        "repeat_after_minutes": 0.0,
    }
    return CollectConfig(**{**usual, **changes})


# With this the collector waits between first and second measurements.
WAITING = {"repeat_after_minutes": 10.0}


def keys(directory):
    """Kind, number and repeat of each row."""
    rows = read_lines(directory / FILE).rows
    return [(row["config"]["kind"], row["number"], row["repeat"]) for row in rows]


def all_keys(config):
    """Of a finished collection whose rounds are all measured twice."""
    kinds, numbers = config.measured_kinds, range(config.configurations)
    return {(kind, number, repeat) for kind in kinds for number in numbers for repeat in (0, 1)}
