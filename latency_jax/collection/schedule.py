"""What a collection measures, in which order, and how it times it."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from latency_jax.config import CollectConfig
from latency_jax.measuring.load import Load
from latency_jax.measuring.timing import CAREFUL, FAST, MeasureConfig
from latency_jax.modules import customized_parameters, sample_config
from latency_jax.parameters import ModuleConfig, Parameter, Value
from packd_jax.config import ConfigError

ROUND = 40  # configurations at least: so many share a load, and their windows lie apart
_DISTINCT_DRAWS = 100


class Job(NamedTuple):
    """One measurement to make."""

    number: int  # of the configuration among those of its kind
    config: ModuleConfig
    repeat: int = 0  # 1 for the second measurement of a configuration

    @property
    def key(self) -> tuple[str, int, int]:
        return self.config.kind, self.number, self.repeat

    @property
    def load(self) -> Load:
        """What is requested."""
        return Load(*(float(self.config.conditions[name]) for name in Load._fields))


def rounds(config: CollectConfig) -> Iterator[list[Job]]:
    """All configurations, a round at a time: equal for equal seeds, each of them once.

    A round has one configuration of every kind, or some where kinds are few, so a collection
    that is cut short leaves the kinds balanced. Its jobs have the same load, except those of
    kinds with a customization of their own.
    """
    sources = [_configurations(config, kind) for kind in config.measured_kinds]
    while True:
        jobs = [job for s in sources for job in itertools.islice(s, _of_each_kind(config))]
        if not jobs:
            return
        yield jobs


def has_load(config: CollectConfig) -> bool:
    """Whether anything is measured beside background load."""
    parameters = [_parameter(config, k, n) for k in config.measured_kinds for n in Load._fields]
    return any(p.is_input or p.default for p in parameters)


def measuring(config: CollectConfig) -> MeasureConfig:
    """How a collection times modules: one estimator for all rows of a dataset.

    With load it is the mean under load, also where the load that was drawn is 0: the
    undisturbed time there would put a step into the dataset that is none of the machine.
    """
    how = {"fast": FAST, "careful": CAREFUL}[config.mode]
    if config.windows:
        how = replace(how, windows=config.windows, max_windows=config.windows)
    return how.under_load() if has_load(config) else how


def threads_of(config: CollectConfig) -> int:
    """The number of cores to measure on, 0 for all. Raises ConfigError where it varies."""
    threads = [_parameter(config, kind, "threads") for kind in config.measured_kinds]
    if any(p.is_input or p.default != threads[0].default for p in threads):
        raise ConfigError(
            f"config.conditions.threads = {config.conditions.threads!r}: expected one number for "
            "all kinds, as a process keeps the threads that it starts with; collect once for each"
        )
    return int(threads[0].default)


def _configurations(config: CollectConfig, kind: str) -> Iterator[Job]:
    """Of one kind; ends early where there are no more distinct ones."""
    rng = np.random.default_rng([config.seed, zlib.crc32(kind.encode())])
    loads = [_parameter(config, kind, name) for name in Load._fields]
    seen: set[str] = set()
    for number in range(config.configurations):
        round_number = number // _of_each_kind(config)
        levels = {
            load.name: str(_level(load, round_number, [config.seed, position]))
            for position, load in enumerate(loads)
        }
        specs = {**config.customizations_of(kind), **levels}
        for _ in range(_DISTINCT_DRAWS):
            drawn = sample_config(kind, rng, specs, config.size_limit)
            if drawn.identity not in seen:
                break
        else:
            return
        seen.add(drawn.identity)
        yield Job(number, drawn)


def _level(load: Parameter, round_number: int, seeds: list[int]) -> Value:
    """The load of a round, for all kinds; rounds in a row have each of the listed ones once."""
    if not load.choices:
        return load.sample(np.random.default_rng([*seeds, round_number]))
    cycle, position = divmod(round_number, len(load.choices))
    order = np.random.default_rng([*seeds, cycle]).permutation(len(load.choices))
    return load.choices[order[position]]


def _of_each_kind(config: CollectConfig) -> int:
    return -(-ROUND // len(config.measured_kinds))


def _parameter(config: CollectConfig, kind: str, name: str) -> Parameter:
    parameters = customized_parameters(kind, config.customizations_of(kind))
    return next(p for p in parameters if p.name == name)
