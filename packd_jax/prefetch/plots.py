"""What the page of prefetchers draws, each function on the axes that `report_plots.svg` gives.

`rows` are those of results.json, see `packd_jax.prefetch.outcome`, at one inference latency.
Colours are Okabe and Ito's, which the colour-blind tell apart; marks differ as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from packd_jax.prefetch.baselines import BASELINES

if TYPE_CHECKING:  # drawing alone needs matplotlib, which takes most of a second to import
    from matplotlib.axes import Axes

Row = Mapping[str, Any]


class Kind(NamedTuple):
    """How prefetchers of a kind are drawn."""

    name: str
    marker: str
    colour: str
    fill: str


NONE = Kind("no prefetches", "x", "#999999", "#999999")
CLASSICAL = Kind("classical", "s", "#0072b2", "#0072b2")
STUDENT = Kind("student", "o", "#d55e00", "#d55e00")
BOUND = Kind("bound: knows the future", "D", "#767676", "white")
BUILT = {  # what is no bound, with the colours and the width of its lines
    CLASSICAL: (("#0072b2", "#56b4e9", "#009e73", "#000000", "#767676", "#7d5ba6"), 1.0),
    STUDENT: (("#d55e00", "#e69f00", "#cc79a7", "#8b2500"), 1.8),
}
COLUMNS = 3  # panels of the timeliness figure beside each other
_USELESS = {4: "4", 1: "1", 1 / 4: "¼", 1 / 16: "1/16"}  # lines in the plane
_SPEEDUP, _GREY = "estimated speed-up over none", "#333333"
_SMALL: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7}
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # behind a text on lines
_LINK = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
# Where a name may stand beside its mark, the best side first.
_SIDES = [(x, y) for y in (0, 0.5, -0.5, 1, -1, 2, -2) for x in (1, -1)] + [(0, 1.0), (0, -1.0)]


def kind_of(name: str) -> Kind:
    """By the name of a prefetcher: one that is not known is a student."""
    known = {**dict.fromkeys(BASELINES, CLASSICAL), "none": NONE, "oracle": BOUND}
    return known.get(name, STUDENT)


def speedups(rows: Sequence[Row]) -> list[float]:
    """Estimated cycles without prefetches over each row's own."""
    alone = next(row["est_cycles"] for row in rows if row["name"] == "none")
    return [alone / row["est_cycles"] for row in rows]


def built(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Rows of classical prefetchers and students with their speed-ups, the fastest first."""
    pairs = [p for p in zip(rows, speedups(rows)) if kind_of(p[0]["name"]) in BUILT]
    return sorted(pairs, key=lambda pair: -pair[1])


def coverage_against_accuracy(axes: Axes, rows: Sequence[Row]) -> None:
    """A mark for each prefetcher, and lines of equally many useless blocks for each miss."""
    from matplotlib.ticker import PercentFormatter

    top = 1.06
    for useless, label in _USELESS.items():
        coverage = np.linspace(0, top, 200)
        accuracy = coverage / (coverage + useless)  # where useless / (useful + misses) is that
        axes.plot(accuracy, coverage, ":", color="#999999", linewidth=1, zorder=1)
        axes.annotate(label, (accuracy[-1], top), (0, 6), ha="center", **_SMALL)
    axes.set_title("dotted: useless blocks for each useful one or miss", fontsize=8, pad=14)
    points = [(r["accuracy"], r["coverage"], r["name"]) for r in rows if r["name"] != "none"]
    axes.set(xlim=(-0.03, top), ylim=(-0.03, top), xlabel="accuracy", ylabel="coverage")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _named_marks(axes, points)


def timeliness(axes: Axes, rows: Sequence[Row]) -> None:
    """A panel for each row in the place of `axes`; each must have useful or late blocks.

    Right of zero: useful prefetches by the cycles between arrival and first use; left of it: late
    ones by those that the load had to wait. Bar k from zero counts 2**(k - 1) to 2**k cycles.
    """
    from matplotlib.ticker import PercentFormatter

    grid = _panels(axes, -(-len(rows) // COLUMNS), min(len(rows), COLUMNS), sharex=True)
    for panel, row in zip(grid, rows):
        useful, late = np.array(row["timeliness"]), np.array(row["lateness"])
        whole = useful.sum() + late.sum()
        for counts, left, colour, label in (
            (late, -1 - np.arange(len(late)), "#e69f00", "late: the load waited for it"),
            (useful, np.arange(len(useful)), "#009e73", "useful: it waited for the load"),
        ):
            panel.bar(left, counts / whole, 1, align="edge", color=colour, label=label)
        panel.axvline(0, color=_GREY, linewidth=0.8)
        panel.set_title(f"{row['name']}\n{100 * late.sum() / whole:.1f} % late", fontsize=7)
        panel.tick_params(labelsize=7, labelbottom=True)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.grid(False, axis="x")
    for panel in grid[len(rows) :]:
        panel.remove()
    whole_rows = zip(*((row["lateness"], row["timeliness"]) for row in rows))
    low, high = (max(len(np.trim_zeros(h, "b")) for h in histograms) for histograms in whole_rows)
    grid[0].set_xticks((-9, 0, 9, 17), ("256", "0", "256", "64 Ki"))
    grid[0].set_xlim(-low - 0.5, high + 0.5)
    grid[0].figure.supxlabel("late by ← cycles → arrived before the first use", fontsize=8)
    grid[0].figure.supylabel("share of useful and late", fontsize=8)
    grid[0].figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)


def mpki_and_speedup(axes: Axes, rows: Sequence[Row]) -> None:
    """Two panels of bars in the place of `axes`, the fastest prefetcher on top."""
    grid = _panels(axes, 1, 2)
    ranked = sorted(zip(speedups(rows), rows), key=lambda pair: -pair[0])
    names = [row["name"] for _, row in ranked]
    kinds = [kind_of(name) for name in names]
    gain, mpki = (np.array(v) for v in zip(*((gain, row["mpki"]) for gain, row in ranked)))
    for panel, values, origin, mark, spec, label in (
        (grid[0], mpki, 0.0, mpki[names.index("none")], ".2f", "LLC misses per 1,000 instr."),
        (grid[1], gain, 1.0, 1.0, ".3f", "est. speed-up over none"),
    ):
        for kind in dict.fromkeys(kinds):
            places = np.array([place for place, of in enumerate(kinds) if of == kind])
            style: Any = {"facecolor": kind.fill, "edgecolor": kind.colour, "label": kind.name}
            panel.barh(places, values[places] - origin, 0.66, left=origin, **style)
        for place, value in enumerate(values):
            end = max(value, origin), place
            panel.annotate(f"{value:{spec}}", end, (3, 0), bbox=_PAPER, **_SMALL)
        low, high = min(values.min(), origin), max(values.max(), origin)
        panel.set_xlim(low - 0.03 * (high - low), high + 0.35 * (high - low) + 1e-3)
        panel.axvline(mark, color=_GREY, linewidth=0.8, zorder=1)
        panel.grid(False, axis="y")
        panel.set_xlabel(label)
    grid[0].set_yticks(range(len(names)), names, fontsize=8)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    handles = grid[0].get_legend_handles_labels()
    grid[0].figure.legend(*handles, loc="outside lower center", ncols=2, fontsize=8)


def speedup_against_size(axes: Axes, rows: Sequence[Row]) -> None:
    """Marks over bytes on a log axis, those of 0 bytes at its left edge, and the Pareto front."""
    from matplotlib.ticker import EngFormatter

    pairs = built(rows)
    sizes = [row["bytes"] for row, _ in pairs if row["bytes"]] or [1000]
    zero = min(sizes) / 4
    right = max(sizes) * (max(sizes) / zero) ** 0.15
    points = [(row["bytes"] or zero, gain, row["name"]) for row, gain in pairs]
    ends = sorted([(zero, 1.0, ""), *points, (right, 1.0, "")], key=lambda p: (p[0], -p[1]))
    x, best = [end[0] for end in ends], np.maximum.accumulate([end[1] for end in ends])
    axes.set_xscale("log")
    axes.step(x, best, where="post", color=_GREY, linewidth=0.8, zorder=1, label="Pareto front")
    axes.axvline(min(sizes) / 2, color="#999999", linewidth=0.8, linestyle=":")
    axes.axhline(1, color=NONE.colour, linewidth=0.8, linestyle="--", label="none")
    decades = 10.0 ** np.arange(np.ceil(np.log10(min(sizes) / 2)), np.log10(right))
    axes.set_xticks([zero, *decades], ["0 B", *map(EngFormatter("B"), decades)])
    axes.minorticks_off()
    axes.set(xlim=(zero / 2, right), xlabel="size of the tables", ylabel=_SPEEDUP)
    axes.margins(y=0.12)
    # The bound is far above the others, and would press them together.
    bound = [gain for row, gain in zip(rows, speedups(rows)) if row["name"] == "oracle"]
    title = "".join(f"oracle ↑ {gain:.3f}" for gain in bound)
    axes.set_title(title, loc="right", fontsize=8, color=BOUND.colour)
    _named_marks(axes, points)


def speedup_against_latency(axes: Axes, gains: Mapping[str, Mapping[int, float]]) -> None:
    """A line of speed-ups over inference latency, cycles, for each prefetcher but the bound."""
    shown = {name: of for name, of in gains.items() if kind_of(name) in BUILT and of}
    latencies = sorted({cycles for of in shown.values() for cycles in of})
    axes.set_xscale("symlog", linthresh=min([c for c in latencies if c], default=1))
    axes.axhline(1, color=NONE.colour, linewidth=0.8, linestyle="--")
    colours: dict[str, str] = {}
    for kind, (of_kind, width) in BUILT.items():
        names = [name for name in shown if kind_of(name) == kind]
        colours |= zip(names, itertools.cycle(of_kind))
        for name in names:
            x, y = zip(*sorted(shown[name].items()))
            axes.plot(x, y, marker=kind.marker, linewidth=width, color=colours[name])
    axes.set_xticks(latencies, [f"{c:,}" for c in latencies])
    axes.minorticks_off()
    axes.set(xlabel="inference latency, cycles", ylabel=_SPEEDUP)
    ends = {name: (max(of), of[max(of)]) for name, of in shown.items()}
    names = sorted(ends, key=lambda name: ends[name][1])
    heights = _settled(axes)([ends[name] for name in names])[:, 1]
    # Names move as little as lets each stand a line above the one below: isotonic regression.
    n, free = range(len(names)), heights - 9 * np.arange(len(names))
    for i, name in enumerate(names):
        moved = max(min(free[low : high + 1].mean() for high in n[i:]) for low in n[: i + 1])
        shift = 14, moved + 9 * i - heights[i]
        _name(axes, name, ends[name], shift, colours[name], "left", {**_LINK, "relpos": (0, 0.5)})


def _panels(axes: Axes, lines: int, columns: int, sharex: bool = False) -> list[Axes]:
    """A grid of axes in the place of `axes`."""
    figure = axes.figure
    axes.remove()
    return list(figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=True).flat)


def _settled(axes: Axes) -> Callable[[Any], np.ndarray]:
    """From data to points (1/72 inch) on the page, as the axes lie with their limits and labels."""
    figure: Any = axes.figure
    figure.draw_without_rendering()
    return lambda data: axes.transData.transform(data) * 72 / figure.dpi


def _named_marks(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """A mark at each (x, y, name) and the name beside it, at the nearest place that is free."""
    for x, y, name in points:
        kind = kind_of(name)
        axes.plot(x, y, kind.marker, color=kind.colour, mfc=kind.fill, markersize=5.5)
    to_points = _settled(axes)
    low, high = to_points(np.transpose([axes.get_xlim(), axes.get_ylim()]))
    taken = np.array([to_points(point[:2]) + [[-4], [4]] for point in points])  # boxes
    for *end, name in points:
        mark, half = to_points(end), np.array([2.3 * len(name), 4.5])  # half of its size
        away = taken[[not _overlap(mark[None, None] + [[-4], [4]], box) for box in taken[:, None]]]
        for distance, side in itertools.product(range(6, 120, 5), np.array(_SIDES)):
            middle = mark + side * (distance + half)
            box = np.array([[middle - half, middle + half]])
            far = (abs(middle - mark) - half).max() > 8
            steps = mark + np.outer(np.linspace(0.2, 1, 12 * far), middle - mark)
            line = np.stack([steps, steps], axis=1)  # to a name that is far
            within = (low <= middle - half).all() and (middle + half <= high).all()
            if within and not (_overlap(box, taken) or _overlap(line, away)):
                break
        taken = np.concatenate([taken, box, line])
        link = _LINK if far else None
        _name(axes, name, end, middle - mark, kind_of(name).colour, "center", link)


def _name(axes: Axes, name: str, end: Any, shift: Any, colour: str, ha: Any, link: Any) -> None:
    """Writes a name at `shift` points from its mark."""
    style: Any = {**_SMALL, "fontsize": 8, "color": colour, "bbox": _PAPER, "zorder": 1.5}
    axes.annotate(name, end, shift, ha=ha, arrowprops=link, **style)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> bool:
    """Whether any of `boxes` f64[N, 2, 2] (lower left, upper right) meets any of `others`."""
    apart = (boxes[:, None, 1] <= others[:, 0]) | (others[:, 1] <= boxes[:, None, 0])
    return bool((~apart.any(axis=2)).any())
