"""Latency of modules: windows of repetitions, interleaved over modules and spread over time.

On a shared machine disturbances last for longer than one measurement, so more repetitions in a
row do not help: the same seconds cut into windows far apart do, and the least of what the windows
say. Every module in flight gets one window a pass, in random order; while the next modules are
compiled, time goes by between two passes at no cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from latency_jax.measuring.load import BackgroundLoad, Load, LoadReading
from latency_jax.measuring.timing import (
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


class Measurement(NamedTuple):
    """One latency and all that it was made from: R repetitions in W windows."""

    latency_s: float  # of one call
    interval_s: tuple[float, float]  # quantiles of the windows, a quarter to either side
    method: str  # "device" or "wall", see Plan
    trips: tuple[int, int]  # of the last window
    repetitions_s: np.ndarray  # f64[R], of one call
    window: np.ndarray  # i32[R], of each repetition
    overhead_s: np.ndarray  # f64[W]
    sentinel_s: np.ndarray  # f64[W], the sentinel after each window: how fast the machine was
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
    was yielded needs no second measurement after an interruption. `sentinel` is timed after each
    window: it shows how the speed of the machine drifts, and changes nothing. Beside a `load` the
    mean is measured, see `MeasureConfig.under_load`.
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
    windows = len(result.time_s)
    does_agree = high_s - low_s <= config.agree * result.latency_s
    return windows >= config.max_windows or (windows >= config.windows and does_agree)


class _Watch:
    """Times the sentinel."""

    def __init__(self, sentinel: Timed | None, config: MeasureConfig, clock: Clock) -> None:
        self._sentinel, self._clock = sentinel, clock
        self._trips = 0 if sentinel is None else high_trips(sentinel, config.repetition_s, clock)

    def trip_s(self) -> float:
        """Seconds of a trip; NaN without a sentinel."""
        if self._sentinel is None:
            return math.nan
        return seconds(self._clock, self._sentinel.loop, self._trips) / self._trips


@dataclass
class _Flight(Generic[Key]):
    """A module that is being measured."""

    key: Key
    module: Timed
    plan: Plan
    windows: list[Window] = field(default_factory=list)
    sentinel_s: list[float] = field(default_factory=list)
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
        self.sentinel_s.append(watch.trip_s())

    def measurement(self, config: MeasureConfig, load: BackgroundLoad | None) -> Measurement:
        counts = [len(w.repetitions_s) for w in self.windows]
        centres = [w.centre_s for w in self.windows]
        around = np.clip(config.window_quantile + np.array([-0.25, 0, 0.25]), 0, 1)
        low_s, latency_s, high_s = np.quantile(centres, around).tolist()
        return Measurement(
            latency_s=latency_s,
            interval_s=(low_s, high_s),
            method=self.plan.method,
            trips=self.plan.trips,
            repetitions_s=np.concatenate([w.repetitions_s for w in self.windows]),
            window=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            overhead_s=np.array([w.overhead_s for w in self.windows]),
            sentinel_s=np.array(self.sentinel_s),
            time_s=np.array(self.time_s),
            load=Load() if load is None else load.achieved(*self.readings),
        )
