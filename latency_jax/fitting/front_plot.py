"""The plot of what accuracy costs: in time, and in space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_jax.selection import MODES
from packd_jax.staged_file import staged

if TYPE_CHECKING:  # drawing alone needs matplotlib, which takes most of a second to import
    from matplotlib.axes import Axes

COSTS = {
    "predict_us_per_row": "µs per row, in calls of 1,000 rows",
    "size_bytes": "bytes of all kinds",
}


def write_front_plot(found: Mapping[str, Any], path: Path) -> None:
    """Draws `results` as SVG, in place when whole: validation accuracy against time and space."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, cost in zip(figure.subplots(1, 2, sharey=True), COSTS):
        draw_front(axes, found, cost)
        axes.grid(alpha=0.3)
    figure.axes[1].set_ylabel("")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="outside lower center")
    with staged(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def draw_front(axes: Axes, found: Mapping[str, Any], cost: str) -> None:
    """Draws accuracy on validation against one of the COSTS, of the first split seed.

    Small points are the front of selection and the line is the best of it that costs no more;
    circles are what the modes choose, and large points are single regressors for all kinds.
    """
    from matplotlib.ticker import EngFormatter, LogLocator

    first = [r for r in found["selection"] if r["split_seed"] == found["config"]["split_seed"]]
    modes = [row for row in first if row["set"] in MODES]
    singles = [row for row in first if row["set"] not in (*MODES, "best_single")]
    spent, reached = np.array(sorted((row[cost], row["validation"]) for row in found["front"])).T
    axes.plot(spent, reached, ".", color="#0072b2", markersize=3)
    best = np.maximum.accumulate(reached)
    axes.step(spent, best, where="post", color="#0072b2", linewidth=1, label="front of selection")
    for rows, marker, colour, above in ((modes, "o", "#d55e00", 5), (singles, ".", "#555555", -9)):
        names: dict[tuple[float, float], list[str]] = {}
        for row in rows:
            names.setdefault((row[cost], row["validation"]), []).append(row["set"])
        for place, sets in names.items():
            axes.plot(*place, marker, color=colour, markersize=6, markerfacecolor="none")
            axes.annotate(
                ", ".join(sets),
                place,
                xytext=(4, above),
                textcoords="offset points",
                fontsize=7,
                color=colour,
            )
    costs = [row[cost] for row in (*first, *found["front"])]
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.5, max(costs) * 3)  # names stand to the right of their marks
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    thousands = EngFormatter()
    axes.xaxis.set_major_formatter(lambda x, _: thousands(x) if x >= 1 else f"{x:g}")
    axes.minorticks_off()
    axes.set_xlabel(COSTS[cost], fontsize=9)
    axes.set_ylabel(f"{found['config']['goal']['metric']} on validation", fontsize=9)
