"""What a search found: the table of the chosen prefetchers, and what speed-up costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packd_jax.staged_file import staged

PANELS = {"bytes": "bytes of all state", "kernel_cycles": "cycles of a prediction, counted"}


def front(rows: Sequence[Mapping[str, Any]], cost: str) -> list[Mapping[str, Any]]:
    """The rows that none beats in speed-up on validation for the same or less, cheapest first."""
    best: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda r: (r[cost], -r["speedup"])):
        if not best or row["speedup"] > best[-1]["speedup"]:
            best.append(row)
    return best


def budget_table(found: Mapping[str, Any]) -> str:
    """Markdown with a row for each budget, from the content of budgets.json."""
    lines = [
        "| budget | bytes | cycles | ns | arm | bits | inputs | width | F1 | speed-up, validation"
        " | test | coverage | accuracy |",
        "|---:|---:|---:|---:|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["chosen"]:
        design, test = row["design"], row["test"]
        exact, octaves, pcs = design["vocabulary"]
        inputs = f"{design['look_back']} loads, {2 * exact}+{2 * octaves} deltas, {pcs} PCs"
        measured = "" if row["ns_per_access"] is None else f"{row['ns_per_access']:.0f}"
        lines.append(
            f"| {row['budget_bytes']:,} | {row['bytes']:,} | {row['kernel_cycles']:,} | {measured}"
            f" | {design['arm']} | {design['weight_bits']} | {inputs} | {design['width']} |"
            f" {row['f1']:.4f} | {row['speedup']:.4f} | {row['test_speedup']:.4f} |"
            f" {100 * test['coverage']:.1f} % | {100 * test['accuracy']:.1f} % |"
        )
    return "\n".join(lines)


def write_budget_plot(found: Mapping[str, Any], path: Path) -> None:
    """Draws speed-up on validation against bytes and against cycles as PNG, in place when whole."""
    from matplotlib.figure import Figure  # takes most of a second, and few commands draw

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    rows, chosen = found["candidates"], found["chosen"]
    for axes, (cost, label) in zip(figure.subplots(1, 2, sharey=True), PANELS.items()):
        axes.set_xscale("log")
        axes.scatter(
            [r[cost] for r in rows], [r["speedup"] for r in rows], s=12, c="#999999", label="tried"
        )
        best = front(rows, cost)
        axes.plot(
            [r[cost] for r in best], [r["speedup"] for r in best], "o-", c="#0072b2", label="front"
        )
        axes.scatter(
            [r[cost] for r in chosen],
            [r["speedup"] for r in chosen],
            s=90,
            facecolors="none",
            edgecolors="#d55e00",
            label="chosen for a budget",
            zorder=3,
        )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    first, _ = figure.axes
    for row in chosen:
        first.axvline(row["budget_bytes"], c="#d55e00", lw=0.7, ls=":")
    first.set_ylabel("estimated speed-up over none, validation")
    first.legend()
    with staged(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
