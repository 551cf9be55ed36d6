"""One window of repetitions of one module: how it is timed, and for how long."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

Clock = Callable[[], float]  # seconds
_LOW_TRIPS = 1
_MAX_TRIPS = 1 << 20


class Timed(Protocol):
    """What can be timed; a CompiledModule is one. Both calls return when the work is done."""

    @property
    def size_bytes(self) -> int: ...

    def call(self) -> None: ...

    def loop(self, trips: int) -> None: ...


@dataclass(frozen=True)
class MeasureConfig:
    """How long modules are timed, and which of the repetitions is their latency."""

    windows: int = 3
    max_windows: int = 3  # where windows disagree
    window_s: float = 0.006
    min_repetitions: int = 1  # in a window, also of a module that takes longer than a window
    repetition_s: float = 5e-4  # of a loop
    tight: float = 0.01  # half interval of the median over the median: a window ends early
    agree: float = 0.05  # interval of the latency over the latency: no more windows
    device_below_s: float = 1e-3  # modules below it are timed without what a call adds
    repetition_quantile: float | None = 0.0  # of a window's repetitions; None is their mean
    window_quantile: float = 0.0
    chunk: int = 16  # modules compiled between two passes
    flight_bytes: int = 2 << 30  # of modules held at a time

    def __post_init__(self) -> None:
        for name, is_good, expected in (
            ("windows", self.windows >= 1, "at least 1"),
            ("max_windows", self.max_windows >= self.windows, f"at least {self.windows} (windows)"),
            ("window_s", self.window_s > 0, "more than 0 seconds"),
            ("min_repetitions", self.min_repetitions >= 1, "at least 1"),
            ("repetition_s", self.repetition_s > 0, "more than 0 seconds"),
            ("repetition_quantile", 0 <= (self.repetition_quantile or 0) <= 1, "0 to 1, or None"),
            ("window_quantile", 0 <= self.window_quantile <= 1, "0 to 1"),
            ("chunk", self.chunk >= 1, "at least 1"),
            ("flight_bytes", self.flight_bytes >= 1, "at least 1"),
        ):
            if not is_good:
                raise ValueError(f"{name} = {getattr(self, name)!r}: expected {expected}")

    def under_load(self) -> MeasureConfig:
        """The same beside duty-cycled load, whose busy and idle moments both count.

        Repetitions and windows span whole periods of the load, a window stands for the mean of
        its repetitions, and the median window for the module: of 280 pairs (experiments/results/
        latency.md) 54 % agree so, and 38 % by the least. No module gets more windows than the
        others: they are long.
        """
        windows = max(self.windows, 4)
        return replace(
            self,
            windows=windows,
            max_windows=windows,
            window_s=max(self.window_s, 0.03),
            repetition_s=max(self.repetition_s, 0.01),
            tight=0.0,
            repetition_quantile=None,
            window_quantile=0.5,
        )


# What disturbs a module on a shared machine (the other thread of its core, the memory) comes and
# goes in a tenth of a millisecond to seconds. The least of short repetitions, in the better ones of
# many windows far apart, is what the module takes undisturbed, and that repeats; medians follow the
# disturbance. A few windows have no better ones: there the least counts.
FAST = MeasureConfig()
CAREFUL = MeasureConfig(
    windows=8, max_windows=16, window_s=0.02, repetition_s=1e-3, tight=0.0, window_quantile=0.1
)


class Plan(NamedTuple):
    """How a module is timed: "device", the slope between two trip counts of a loop that runs
    inside one program, or "wall", a call that is waited for, with what a call adds."""

    method: str
    trips: tuple[int, int]  # low and high; (0, 1) for "wall"

    def longer(self) -> Plan:
        few, many = self.trips
        return self._replace(trips=(few, few + 4 * (many - few)))


class Window(NamedTuple):
    """Repetitions in a row."""

    repetitions_s: np.ndarray  # f64[R], of one call; by "device" without the overhead
    overhead_s: float  # of a loop that makes the low number of trips; 0 for "wall"
    centre_s: float  # the quantile (or mean) of the repetitions that stands for them


def plan_of(module: Timed, config: MeasureConfig, clock: Clock) -> Plan:
    """Warms a module up and chooses how to time it; the loop is compiled only where it is used."""
    module.call()
    if min(seconds(clock, module.call) for _ in range(3)) >= config.device_below_s:
        return Plan("wall", (0, 1))
    return Plan("device", (_LOW_TRIPS, high_trips(module, config.repetition_s, clock)))


def high_trips(module: Timed, repetition_s: float, clock: Clock) -> int:
    """Trips of a loop that takes about `repetition_s` more than a loop of the low number."""

    def best_s(trips: int) -> float:
        return min(seconds(clock, module.loop, trips) for _ in range(4))

    trips = 2
    module.loop(trips)
    low_s = best_s(_LOW_TRIPS)
    while (gained_s := best_s(trips) - low_s) < repetition_s / 4 and trips < _MAX_TRIPS:
        trips *= 4
    more = (trips - _LOW_TRIPS) * repetition_s / max(gained_s, repetition_s / 4)
    return _LOW_TRIPS + min(math.ceil(more), _MAX_TRIPS)


def is_too_short(window: Window, plan: Plan, config: MeasureConfig) -> bool:
    """Whether the trips were too few: they are when a disturbance fell on choosing them."""
    few, many = plan.trips
    gained_s = window.centre_s * (many - few)
    return plan.method == "device" and gained_s < config.repetition_s / 4 and many < _MAX_TRIPS


def time_window(module: Timed, plan: Plan, config: MeasureConfig, clock: Clock) -> Window:
    """Repeats until the interval of the median is tight, or the window's time is spent."""
    low: list[float] = []
    high: list[float] = []
    few, many = plan.trips

    def repeat() -> None:
        if plan.method == "device":
            low.append(seconds(clock, module.loop, few))
            high.append(seconds(clock, module.loop, many))
        else:
            high.append(seconds(clock, module.call))

    repeat()  # with another module's data in the caches
    low.clear()
    high.clear()
    end_s = clock() + config.window_s
    while len(high) < config.min_repetitions or (clock() < end_s and not _is_tight(high, config)):
        repeat()
    quantile = config.repetition_quantile
    # A mean of some microseconds each would follow the few that were preempted.
    overhead_s = float(np.quantile(low, 0.5 if quantile is None else quantile)) if low else 0.0
    repetitions_s = (np.array(high) - overhead_s) / (many - few)
    centre_s = repetitions_s.mean() if quantile is None else np.quantile(repetitions_s, quantile)
    return Window(repetitions_s, overhead_s, float(centre_s))


def median_interval(values: list[float]) -> tuple[float, float]:
    """Two of the values between which the median of their distribution lies, 95 times of 100.

    Holds for any distribution; fewer than 6 values bound nothing: (-inf, inf).
    """
    n = len(values)
    if n < 6:
        return -math.inf, math.inf
    rank = math.floor((n - 1) / 2 - 0.98 * math.sqrt(n))
    ordered = sorted(values)
    return ordered[rank], ordered[n - 1 - rank]


def seconds(clock: Clock, action: Callable[..., None], *arguments: int) -> float:
    """How long `action(*arguments)` took."""
    start = clock()
    action(*arguments)
    return clock() - start


def _is_tight(values: list[float], config: MeasureConfig) -> bool:
    low, high = median_interval(values)
    return high - low <= 2 * config.tight * statistics.median(values)
