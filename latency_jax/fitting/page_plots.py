"""What the page of a study draws: each function draws on the axes that `report_plots.svg` gives it.

Pairs of seconds are f64[N, 2]: what was measured, and what is held against it. Colours are Okabe
and Ito's, which the colour-blind tell apart; dashes and hollow marks are for grey print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_jax.collection.dataset import repeatability

if TYPE_CHECKING:  # drawing alone needs matplotlib, which takes most of a second to import
    from matplotlib.axes import Axes

BAND = (0.85, 0.95)  # of coverage: what a 90 % interval may come to on few rows
_BLUE, _RED, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#e69f00", "#009e73", "#333333"
_COLUMNS = 3  # of small multiples: their text is then still legible on a phone
MARKS = 400  # a panel: thousands would make the page slow and show no more
_STRETCHES = 100  # of a collection, in the figure of its sentinel


def panels(
    axes: Axes,
    data: Mapping[str, Any],
    draw: Callable[[Axes, Any], None],
    xlabel: str,
    ylabel: str,
) -> None:
    """Small multiples in the place of `axes`, one for each name, with one legend."""
    figure = axes.figure
    axes.remove()
    rows, columns = _grid(len(data))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, values) in zip(grid, data.items()):
        draw(panel, values)
        panel.set_title(name, fontsize=7)
        panel.set_xlabel("")
        panel.set_ylabel("")
        panel.tick_params(labelsize=7)
    for panel in grid[len(data) :]:
        panel.remove()
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def panels_height_in(count: int) -> float:
    """The height that so many small multiples want: panels are about square."""
    rows, columns = _grid(count)
    return 0.6 + rows * min(4.6 / columns, 3.2)


def _grid(count: int) -> tuple[int, int]:
    columns = min(count, _COLUMNS)
    return -(-count // columns), columns


def agreement(axes: Axes, pairs_s: np.ndarray) -> None:
    """What is held against the measured over the measured, with the diagonal and ±10 %."""
    from matplotlib.ticker import EngFormatter

    low, high = pairs_s.min() / 2, pairs_s.max() * 2
    ends = np.array([low, high])
    axes.fill_between(
        ends, 0.9 * ends, 1.1 * ends, color=_ORANGE, alpha=0.5, linewidth=0, label="within ±10 %"
    )
    axes.plot(ends, ends, color=_GREY, linewidth=0.7)
    axes.plot(*_some(pairs_s).T, "o", color=_BLUE, markersize=2, alpha=0.6, markeredgewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(_ticks(low, high))
        axis.set_major_formatter(EngFormatter("s"))
    axes.minorticks_off()
    axes.set_xlabel("measured")


def _some(pairs_s: np.ndarray) -> np.ndarray:
    """At most MARKS of the rows, evenly drawn, and among them those that lie farthest off."""
    if len(pairs_s) <= MARKS:
        return pairs_s
    off = np.argsort(np.abs(np.log(pairs_s[:, 1] / pairs_s[:, 0])), kind="stable")
    return pairs_s[off[np.linspace(0, len(off) - 1, MARKS).astype(np.int64)]]


def _ticks(low: float, high: float, most: int = 3) -> np.ndarray:
    """Powers of ten; with steps of 3 between them where there are fewer than two."""
    exponents = np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    ticks = _within(10.0**exponents, low, high)
    if len(ticks) < 2:
        ticks = _within(np.outer(10.0**exponents, (1, 3)).ravel(), low, high)
    return ticks[:: -(-len(ticks) // most)]


def _within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return values[(low <= values) & (values <= high)]


def error_distribution(axes: Axes, pairs_s: np.ndarray, again_s: np.ndarray | None = None) -> None:
    """The share of rows that lie within each relative error; beside it that of `again_s`.

    `again_s` are pairs that were measured twice, f64[P, 2], or None.
    """
    from matplotlib.ticker import PercentFormatter

    _cumulative(axes, pairs_s, color=_BLUE, label="predicted")
    if again_s is not None:
        _cumulative(axes, again_s, color=_RED, linestyle="--", label="measured again")
    axes.axvline(0.1, color=_GREY, linewidth=0.7)
    axes.set_xscale("log")
    axes.set_xlim(0.01, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks((0.01, 0.1, 1))
    axes.set_yticks((0, 0.25, 0.5, 0.75, 1))
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _cumulative(axes: Axes, pairs_s: np.ndarray, **style: Any) -> None:
    errors = np.sort(np.abs(pairs_s[:, 1] - pairs_s[:, 0]) / pairs_s[:, 0])
    levels = np.geomspace(0.01, 1, 121)
    axes.plot(levels, np.searchsorted(errors, levels, side="right") / len(errors), **style)


def coverage(axes: Axes, shares: Mapping[str, Sequence[float]]) -> None:
    """By kind, the share of test rows within their interval: small by split, large the mean."""
    from matplotlib.ticker import PercentFormatter

    axes.axvspan(*BAND, color=_GREEN, alpha=0.2, linewidth=0, label="85 to 95 %")
    axes.axvline(0.9, color=_GREY, linewidth=0.7)
    for row, of_kind in enumerate(shares.values()):
        mean = float(np.mean(of_kind))
        inside = BAND[0] <= mean <= BAND[1]
        axes.plot(of_kind, [row] * len(of_kind), "o", color=_BLUE, markersize=2.5, alpha=0.6)
        axes.plot([mean], [row], "o", color=_BLUE, ms=6, mfc=_BLUE if inside else "white")
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(min(0.7, *(min(of_kind) - 0.02 for of_kind in shares.values())), 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="y")
    axes.set_xlabel("test rows within their 90 % interval")


def sentinel_drift(axes: Axes, sentinel: np.ndarray) -> None:
    """The sentinel's times, f64[S, 2] of Unix time and seconds, over their median.

    The line is the median and the area the middle 90 % of each stretch of the collection.
    """
    from matplotlib.ticker import PercentFormatter

    start, seconds = sentinel[np.argsort(sentinel[:, 0], kind="stable")].T
    above = seconds / np.median(seconds) - 1
    stretches = np.array_split(np.arange(len(above)), min(len(above), _STRETCHES))
    minutes = [(np.median(start[s]) - start[0]) / 60 for s in stretches]
    low, middle, high = np.transpose([np.quantile(above[s], (0.05, 0.5, 0.95)) for s in stretches])
    axes.fill_between(minutes, low, high, color=_ORANGE, alpha=0.5, linewidth=0, label="5 to 95 %")
    axes.plot(minutes, middle, color=_BLUE, linewidth=1, label="median")
    axes.axhline(0, color=_GREY, linewidth=0.7)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("minutes since the first measurement")
    axes.set_ylabel("above its median")


def by_latency(pairs_s: np.ndarray) -> dict[str, tuple[float | None, int]]:
    """(repeatability, pairs) by power of ten of the first measurement."""
    from matplotlib.ticker import EngFormatter

    first = pairs_s[:, 0]
    exponents = np.arange(np.floor(np.log10(first.min())) - 1, np.log10(first.max()) + 1.5)
    edges = 10.0**exponents
    place = np.digitize(first, edges)
    seconds = EngFormatter("s", places=0)
    ranges = {}
    for k in range(place.min(), place.max() + 1):
        of_range = pairs_s[place == k]
        ranges[f"{seconds(edges[k - 1])} to {seconds(edges[k])}"] = (
            repeatability(of_range),
            len(of_range),
        )
    return ranges


def shares(axes: Axes, ranges: Mapping[str, tuple[float | None, int]]) -> None:
    """Bars of what `by_latency` has found."""
    from matplotlib.ticker import PercentFormatter

    for row, (share, _) in enumerate(ranges.values()):
        axes.barh(row, share or 0, 0.7, color=_BLUE)
    labels = [f"{name}\n{pairs:,} pairs" for name, (_, pairs) in ranges.items()]
    axes.set_yticks(range(len(ranges)), labels)
    axes.set_ylim(len(ranges) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="y")
    axes.set_xlabel("pairs within ±10 % of the first")
