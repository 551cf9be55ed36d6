"""The plot of a partition plan: what crosses each cut, and what each split takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latency_jax.partition.plan import Chain, Plan
from packd_jax.staged_file import staged

if TYPE_CHECKING:  # drawing alone needs matplotlib, which takes most of a second to import
    from matplotlib.axes import Axes

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def write_partition_plot(chain: Chain, plans: dict[str, Plan], path: Path) -> None:
    """Draws plans by name, such as that of each objective, as the path's suffix says.

    Above, the bytes across every cut; below, for two devices the time of every split, for more
    of them the time of each device and link. Raises ValueError for a suffix that is no format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1)
    above.step(
        np.arange(len(chain.cut_bytes)), chain.cut_bytes / 1024, where="mid", color="#333333"
    )
    above.set_ylabel("KiB across the cut")
    above.set_xlabel("parts before the cut")
    above.set_yscale("symlog", linthresh=1)
    above.set_xlim(-0.5, chain.parts + 0.5)
    above.grid(alpha=0.3)
    _mark_cuts(above, plans)
    above.legend(fontsize=8)
    if len(chain.devices) == 2:
        _draw_splits(below, chain, plans)
    else:
        _draw_stages(below, chain, plans)
    with staged(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)


def _mark_cuts(axes: Axes, plans: dict[str, Plan]) -> None:
    for (name, plan), style in zip(plans.items(), ("-", "--", ":", "-.")):
        for k, cut in enumerate(plan.bounds[1:-1]):
            label = f"best for {name}" if k == 0 else None
            axes.axvline(cut, color="#d55e00", linestyle=style, linewidth=1.5, label=label)


def _draw_splits(axes: Axes, chain: Chain, plans: dict[str, Plan]) -> None:
    """Two devices: the latency of every cut as a stack, and the interval between results."""
    cuts = np.arange(len(chain.cut_bytes))
    all_plans = [chain.plan((0, int(cut), len(cuts) - 1)) for cut in cuts]
    first, second = (np.array([plan.device_s[k] for plan in all_plans]) for k in (0, 1))
    transfer = np.array([plan.transfer_s[0] for plan in all_plans])
    names = (chain.devices[0].name, "link", chain.devices[1].name)
    layers = [1e3 * layer for layer in (first, transfer, second)]
    axes.stackplot(cuts, layers, labels=names, colors=("#a6cee3", "#bbbbbb", "#b2df8a"))
    interval = [1e3 * plan.interval_s for plan in all_plans]
    axes.plot(cuts, interval, color="#333333", linewidth=1.2, label="between results of a stream")
    axes.set_xlabel(f"parts on {chain.devices[0].name}")
    axes.set_ylabel("ms")
    axes.set_xlim(-0.5, cuts[-1] + 0.5)
    axes.grid(alpha=0.3)
    _mark_cuts(axes, plans)
    axes.legend(fontsize=8)


def _draw_stages(axes: Axes, chain: Chain, plans: dict[str, Plan]) -> None:
    """A bar for each plan: devices, and links between them in grey."""
    for row, plan in enumerate(plans.values()):
        start = 0.0
        for k, device in enumerate(chain.devices):
            colour, seconds = _COLOURS[k % len(_COLOURS)], plan.device_s[k]
            label = device.name if row == 0 else None
            axes.barh(row, 1e3 * seconds, left=1e3 * start, color=colour, label=label)
            start += seconds
            if k < len(plan.transfer_s):
                label = "link" if row == k == 0 else None
                width = 1e3 * plan.transfer_s[k]
                axes.barh(row, width, left=1e3 * start, color="#bbbbbb", label=label)
                start += plan.transfer_s[k]
    axes.set_yticks(range(len(plans)), [f"best for {name}" for name in plans])
    axes.set_xlabel("ms of one input")
    axes.legend(fontsize=8)
