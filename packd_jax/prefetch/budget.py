"""The best prefetcher within a budget of bytes and cycles: `search` is the whole method.

Designs are trained on the training window, and compared by the cycles that the validation
window takes, where a slow network pays for its prefetches being late (but not for being busy:
the simulator lets a prediction begin at every load, as a pipeline would). The test window is
looked at once, for what was chosen.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from packd_jax.config import ConfigError, TraceConfig, to_json_dict
from packd_jax.json_files import plain_json, write_json
from packd_jax.prefetch.budget_config import BudgetConfig, Design
from packd_jax.prefetch.budget_grid import Sized, draw, sized
from packd_jax.prefetch.budget_trial import Row, Task, judge, judge_on_test, without_prefetches
from packd_jax.prefetch.machine import ML_DPC, Machine
from packd_jax.provenance import provenance
from packd_jax.quantize.cost import DEFAULT, KernelMachine
from packd_jax.run_log import RunLog
from packd_jax.splits import load_sources
from packd_jax.traces.load_trace import window_rows


class Limits(NamedTuple):
    """What a prefetcher may need."""

    bytes: tuple[int, ...]  # a prefetcher is searched for each
    cycles: int = 0  # of a prediction; 0: any


def search(
    config: BudgetConfig,
    windows: TraceConfig,
    limits: Limits,
    workdir: Path,
    log: RunLog,
    kernel: KernelMachine = DEFAULT,
    machine: Machine = ML_DPC,
) -> dict[str, Any]:
    """Leaves `workdir/budgets.json`, whose content it returns.

    An interrupted search goes on from its workdir and ends with the same rows. Raises
    ConfigError for budgets that nothing fits, and for more than one trace or other windows than
    of instructions.
    """
    if len(windows.paths) > 1 or windows.unit != "instructions":
        raise ConfigError("expected one trace, and windows in instructions")
    with log.stage("trace", total=100) as progress:
        (source,) = load_sources(windows, workdir, lambda share: progress(int(100 * share)))
        progress(100, rows=source.trace.rows)
    task = Task(config, windows, source, kernel, machine, workdir, log)
    train = window_rows(source.trace, *windows.train, windows.unit)
    grid = sized(config, source.trace.pc[train], machine.degree, kernel)
    drawn = draw(grid, limits.bytes, limits.cycles, config)
    log.say(f"budgets: {len(drawn)} of {len(grid):,} designs drawn")
    none = {name: without_prefetches(task, name) for name in ("validation", "test")}
    rows = {one.design: judge(task, one, none["validation"]) for one in drawn}
    for best in dict.fromkeys(_best(rows, budget) for budget in limits.bytes):
        for arm in config.arms[1:]:
            other = dataclasses.replace(best, arm=arm)
            needs = Sized(other, rows[best]["bytes"], rows[best]["kernel_cycles"])
            rows[other] = judge(task, needs, none["validation"])
    chosen: dict[Design, Row] = {}
    for budget in limits.bytes:
        best = _best(rows, budget)
        if best not in chosen:
            chosen[best] = judge_on_test(task, best, rows[best], none["test"])
    found = {
        "trace": {"path": source.path, "sha256": source.sha256},
        "windows": {n: list(getattr(windows, n)) for n in ("train", "validation", "test")},
        "config": to_json_dict(config),
        "budget_cycles": limits.cycles,
        "kernel_machine": dataclasses.asdict(kernel),
        "machine": dataclasses.asdict(machine),
        "environment": provenance(),
        "none": {name: outcome.as_row() for name, outcome in none.items()},
        "candidates": sorted(rows.values(), key=lambda row: (row["bytes"], str(row["design"]))),
        "chosen": [
            {"budget_bytes": budget, **chosen[_best(rows, budget)]} for budget in limits.bytes
        ],
    }
    write_json(workdir / "budgets.json", found)
    return plain_json(found, finite=True)  # tuples are lists there


def _best(rows: dict[Design, Row], budget: int) -> Design:
    """The design of least cycles on validation that fits; of equals the smaller one."""
    fitting = [design for design, row in rows.items() if row["bytes"] <= budget]
    return min(fitting, key=lambda d: (rows[d]["validation"]["est_cycles"], rows[d]["bytes"]))
