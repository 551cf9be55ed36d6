"""Latency of modules: windows of repetitions, interleaved over modules and spread over time.

On a shared machine most disturbances last longer than one measurement, so more repetitions in
a row do not help: the same seconds cut into windows far apart do, and a low quantile of what
the windows say. Every module in flight gets one window a pass, in random order; while the next
modules are compiled, time goes by between two passes at no cost.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from latency_jax.load import BackgroundLoad, Load, LoadReading
from latency_jax.timing import (
    FAST,
    Clock,
    MeasureConfig,
    Plan,
    Timed,
    Window,
    high_trips,
    is_too_short,
    plan_of,
    seconds,
    time_window,
)

Key = TypeVar("Key")
_SENTINEL_HISTORY = 64


class Measurement(NamedTuple):
    """One latency and all that it was made from: R repetitions in W windows."""

    latency_s: float  # of one call
    interval_s: tuple[float, float]  # quantiles of the windows, a quarter to either side
    method: str  # "device" or "wall", see Plan
    trips: tuple[int, int]  # of the last window
    repetitions_s: np.ndarray  # f64[R], of one call
    window: np.ndarray  # i32[R], of each repetition
    overhead_s: np.ndarray  # f64[W]
    is_disturbed: np.ndarray  # bool[W]: left out of the latency, unless all are
    sentinel_s: np.ndarray  # f64[W], the sentinel beside each window: drift, recorded only
    time_s: np.ndarray  # f64[W], start of each window by the clock
    load: Load  # achieved over the windows


def measure(
    module: Timed, config: MeasureConfig = FAST, clock: Clock = time.perf_counter
) -> Measurement:
    """Times one module, its windows in a row: as good as the moment is quiet."""
    order = np.random.default_rng(0)  # of one module
    return next(result for _, result in measure_many([(None, module)], order, config, clock=clock))


def measure_many(
    modules: Iterable[tuple[Key, Timed]],
    order: np.random.Generator,
    config: MeasureConfig = FAST,
    *,
    sentinel: Timed | None = None,
    load: BackgroundLoad | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[tuple[Key, Measurement]]:
    """Yields the key and Measurement of each module, as they are done, not in their order.

    `modules` are taken a chunk at a time, so building them on demand bounds memory, and what
    was yielded needs no second measurement after an interruption. `sentinel` is timed before
    and after each window; where it is slow, the window counts as disturbed, and the module gets
    another in a later pass. Beside a `load` the mean is measured, see `MeasureConfig.under_load`.
    """
    if load is not None and any(load.requested):
        config = config.under_load()
    source = iter(modules)
    watch = _Watch(sentinel, config, clock)
    flight: list[_Flight[Key]] = []
    while True:
        flight += _admitted(source, config, sum(f.module.size_bytes for f in flight), clock)
        if not flight:
            return
        watch.look()  # compilation lies between this pass and the last
        for index in order.permutation(len(flight)):
            flight[index].add_window(watch, config, load, clock)
        results = [(f, f.measurement(config, load)) for f in flight]
        flight = [f for f, result in results if not _is_done(result, config)]
        yield from ((f.key, result) for f, result in results if _is_done(result, config))


def _admitted(
    source: Iterator[tuple[Key, Timed]], config: MeasureConfig, held_bytes: int, clock: Clock
) -> list[_Flight[Key]]:
    admitted: list[_Flight[Key]] = []
    while len(admitted) < config.chunk and held_bytes < config.flight_bytes:
        item = next(source, None)
        if item is None:
            break
        key, module = item
        try:
            admitted.append(_Flight(key, module, plan_of(module, config, clock)))
        except Exception as error:
            error.add_note(f"while {key!r} was compiled and warmed up")
            raise
        held_bytes += module.size_bytes
    return admitted


def _is_done(result: Measurement, config: MeasureConfig) -> bool:
    low_s, high_s = result.interval_s
    is_enough = np.count_nonzero(~result.is_disturbed) >= config.windows
    does_agree = high_s - low_s <= config.agree * result.latency_s
    return len(result.is_disturbed) >= config.max_windows or bool(is_enough and does_agree)


class _Watch:
    """Times the sentinel and knows how fast it usually is."""

    def __init__(self, sentinel: Timed | None, config: MeasureConfig, clock: Clock) -> None:
        self._sentinel, self._clock, self._bound = sentinel, clock, config.disturbed_above
        self._trips = 0 if sentinel is None else high_trips(sentinel, config.repetition_s, clock)
        self._history: deque[float] = deque(maxlen=_SENTINEL_HISTORY)

    def look(self) -> tuple[float, bool]:
        """Seconds of a trip, and whether the time since the last look was a disturbed one."""
        if self._sentinel is None:
            return math.nan, False
        self._history.append(seconds(self._clock, self._sentinel.loop, self._trips) / self._trips)
        ends = list(self._history)[-2:]
        return ends[-1], max(ends) > self._bound * statistics.median(self._history)


@dataclass
class _Flight(Generic[Key]):
    """A module that is being measured."""

    key: Key
    module: Timed
    plan: Plan
    windows: list[Window] = field(default_factory=list)
    sentinel: list[tuple[float, bool]] = field(default_factory=list)
    time_s: list[float] = field(default_factory=list)
    readings: list[tuple[LoadReading, LoadReading]] = field(default_factory=list)

    def add_window(
        self, watch: _Watch, config: MeasureConfig, load: BackgroundLoad | None, clock: Clock
    ) -> None:
        self.time_s.append(clock())
        before = None if load is None else load.read()
        window = time_window(self.module, self.plan, config, clock)
        while is_too_short(window, self.plan, config):
            self.plan = self.plan.longer()
            window = time_window(self.module, self.plan, config, clock)
        self.windows.append(window)
        if load is not None and before is not None:
            self.readings.append((before, load.read()))
        self.sentinel.append(watch.look())

    def measurement(self, config: MeasureConfig, load: BackgroundLoad | None) -> Measurement:
        counts = [len(w.repetitions_s) for w in self.windows]
        sentinel_s, disturbed = (np.array(column) for column in zip(*self.sentinel))
        centres = np.array([w.centre_s for w in self.windows])
        counted = centres if disturbed.all() else centres[~disturbed]
        around = np.clip(config.window_quantile + np.array([-0.25, 0, 0.25]), 0, 1)
        low_s, latency_s, high_s = np.quantile(counted, around).tolist()
        return Measurement(
            latency_s=latency_s,
            interval_s=(low_s, high_s),
            method=self.plan.method,
            trips=self.plan.trips,
            repetitions_s=np.concatenate([w.repetitions_s for w in self.windows]),
            window=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            overhead_s=np.array([w.overhead_s for w in self.windows]),
            is_disturbed=disturbed,
            sentinel_s=sentinel_s,
            time_s=np.array(self.time_s),
            load=Load() if load is None else load.achieved(*self.readings),
        )
