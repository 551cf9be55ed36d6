"""The plot of a sweep: every point, and the front that none beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packd_jax.staged_file import staged


def write_front_plot(
    rows: Sequence[Mapping[str, Any]],
    front: Sequence[Mapping[str, Any]],
    cost: str,
    path: Path,
) -> None:
    """Draws test F1 against `cost` ("bytes" or "params") as SVG, in place when whole."""
    from matplotlib.figure import Figure  # takes most of a second, and few commands draw

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    # A symmetric log axis has room for the marginal, which has no parameters.
    axes.set_xscale("symlog", linthresh=10)
    axes.scatter([r[cost] for r in rows], [r["f1"] for r in rows], s=12, c="#999999", label="runs")
    xs, ys = [r[cost] for r in front], [r["f1"] for r in front]
    axes.plot(xs, ys, "o-", c="#0072b2", label="front, chosen on validation")
    axes.set_xlabel(cost)
    axes.set_ylabel("micro-F1 on test")
    axes.grid(alpha=0.3)
    axes.legend()
    with staged(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
