"""The plot of a distillation map: a panel per difference between arms, a line per regime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax.report_plots import ARM_STYLES, excludes_zero
from packd_jax.staged_file import staged

PANELS = 4  # beside each other


def write_map_plot(differences: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the rows of `map.json` as SVG, in place when whole.

    Relative differences in % with their 95 % intervals; filled where these exclude zero.
    """
    pairs = list(dict.fromkeys((d["first"], d["second"]) for d in differences))
    cells = list(dict.fromkeys(_regime(d) for d in differences))
    lines = -(-len(pairs) // PANELS)
    size = (2 + 2.4 * min(PANELS, len(pairs)), lines * (1 + 0.22 * len(cells)))
    from matplotlib.figure import Figure  # takes most of a second, and few commands draw

    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, min(PANELS, len(pairs)), squeeze=False, sharey=True)
    grid = list(panels.flat)
    for axes, pair in zip(grid, pairs):
        colour = ARM_STYLES[pair[0]].colour
        for d in (d for d in differences if (d["first"], d["second"]) == pair):
            half = d["relative_half_width"]
            axes.errorbar(
                100 * d["relative"],
                cells.index(_regime(d)),
                xerr=100 * (np.nan if half is None else half),
                fmt="o",
                color=colour,
                markerfacecolor=colour if excludes_zero(d) else "white",
                capsize=2,
            )
        axes.axvline(0, color="#333333", linewidth=1)
        axes.set_title(f"{pair[0]}\n− {pair[1]}", fontsize=9)
        axes.set_yticks(range(len(cells)), cells, fontsize=8)
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.set_xlabel("% of F1", fontsize=8)
        axes.grid(alpha=0.3, axis="x")
    for axes in grid[len(pairs) :]:
        axes.set_axis_off()
    with staged(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _regime(difference: Mapping[str, Any]) -> str:
    rows, steps = difference["rows"], difference["teacher_steps"]
    return f"{rows or 'all'} rows, teacher {steps}, {difference['params']:,} p."
