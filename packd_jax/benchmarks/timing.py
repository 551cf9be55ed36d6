"""Repetitions of one thing, or of several in turn, and the table lines that they become."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """What was measured: the median and the quartiles over the repetitions."""

    name: str
    unit: str
    median: float
    quartiles: tuple[float, float]
    repeats: int
    against: str | None = None  # what ran in turn with it
    ratio: float | None = None  # how many times as fast as that: median over pairs in time
    ratio_quartiles: tuple[float, float] | None = None


def make_line(name: str, unit: str, values: np.ndarray) -> Line:
    """The line of repeated `values` f64[repeats]."""
    return Line(name, unit, *_median_and_quartiles(values), len(values))


def compare(
    name: str, unit: str, work: float, seconds: np.ndarray, against: str, other: np.ndarray
) -> Line:
    """The line of `work` units done in `seconds` f64[repeats] while `other` did the same."""
    line = make_line(name, unit, work / seconds)
    ratio, quartiles = _median_and_quartiles(other / seconds)
    return line._replace(against=against, ratio=ratio, ratio_quartiles=quartiles)


def repeat(call: Callable[[], object], repeats: int) -> np.ndarray:
    """Seconds of each of `repeats` calls, f64[repeats], after one that compiles what it must."""
    return take_turns({"": call}, repeats)[""]


def take_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each repetition of each call, f64[repeats], all of them called in turn.

    What else the machine does then meets all of them alike. Every round begins with another
    call, so none gains from its place, and each has run once before the first round. A call
    must wait for its own results.
    """
    for call in calls.values():
        call()
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


HEADER = f"{'measurement':44}{'median':>12}  {'quartiles':>23}  {'unit':10}  compared with"


def format_line(line: Line) -> str:
    """One row of the table under `HEADER`."""
    low, high = line.quartiles
    text = f"{line.name:44}{line.median:12,.4g}  {low:>11,.4g}{high:>12,.4g}  {line.unit:10}"
    if line.ratio is not None and line.ratio_quartiles is not None:
        low, high = line.ratio_quartiles
        text += f"  {line.ratio:.3f} ({low:.3f} to {high:.3f}) times as fast as {line.against}"
    return text.rstrip()


def _median_and_quartiles(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    return middle, (low, high)
