"""When does distillation, and when does clustering it, pay? A map over regimes.

A cell is one regime: rows that the student may see, steps that the teachers had, width of the
student. Each holds all arms over the same seeds; teachers are shared between cells that have
them in common, and have a seed of their own for each of the student's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax import results, summary
from packd_jax.adaptation import judge_adapting
from packd_jax.config import Config, ConfigError, EntryConfig, to_json_dict
from packd_jax.json_files import write_json
from packd_jax.protocol import choose, prepare
from packd_jax.run_log import RunLog
from packd_jax.splits import Source, Splits, encode_splits, load_sources
from packd_jax.students import Material, train_students
from packd_jax.teachers import Clusters, assign_splits, row_clusters


class Cell(NamedTuple):
    """One regime."""

    rows: int  # the student's training rows; 0: all
    teacher_steps: int
    width: int  # hidden units of the student

    def __str__(self) -> str:
        return f"rows{self.rows or 'all'}-teacher{self.teacher_steps}-width{self.width}"


def star(rows: Sequence[int], teacher_steps: Sequence[int], widths: Sequence[int]) -> list[Cell]:
    """Cells that leave the first value of each list along one axis at a time; and, for the
    teachers' steps and the widths, once more with the last number of rows."""
    cells = [Cell(r, teacher_steps[0], widths[0]) for r in rows]
    for r in (rows[0], rows[-1]):
        cells += [Cell(r, steps, widths[0]) for steps in teacher_steps]
        cells += [Cell(r, teacher_steps[0], width) for width in widths]
    return list(dict.fromkeys(cells))


def run_map(
    config: Config,
    cells: Sequence[Cell],
    workdir: Path,
    log: RunLog,
    teacher_paths: Sequence[str] = (),
    shift_pages: int = 0,
    adapt_rate: float = 0.0,
) -> list[dict[str, Any]]:
    """Runs the cells for the config's traces together; returns one row per paired difference.

    Args:
      teacher_paths: traces that the teachers (and clusters and vocabulary) come from instead
        of the students' own: other programs.
      shift_pages: judge on a test split whose addresses are moved by so many pages, as in a
        second run of the program with another address layout.
      adapt_rate: above 0, students go on learning on test at this rate; see `adaptation`.

    A cell that is done is read back from `workdir/cells`; the map is `workdir/map.json`.
    Raises ConfigError when the workdir holds a map of another kind, or arms lack `no_kd`.
    """
    if "no_kd" not in config.arms:
        raise ConfigError(f"config.arms = {config.arms}: expected no_kd, the others' measure")
    where: dict[str, Any] = {
        "teacher_paths": list(teacher_paths),
        "shift_pages": shift_pages,
        "adapt_rate": adapt_rate,
    }
    _claim({"config": to_json_dict(config), **where}, workdir)
    sources = load_sources(config.trace, workdir)
    differences = []
    for cell in cells:
        done = workdir / "cells" / f"{cell}.json"
        if not done.exists():
            log.say(f"map: {cell}")
            config_of_cell = _in_regime(config, cell)
            rows = _run_cell(config_of_cell, sources, workdir, cell, log, **where)
            done.parent.mkdir(parents=True, exist_ok=True)
            write_json(done, {"cell": cell._asdict(), "rows": rows})
        rows = json.loads(done.read_text())["rows"]
        means = {arm: value.mean for (_, arm), value in summary.by_arm(rows, "f1").items()}
        params = next(r["params"] for r in rows if r["arm"] == "no_kd")
        for difference in summary.paired_differences(rows):
            differences.append({**cell._asdict(), "params": params, **difference, "means": means})
    traces = [source.path for source in sources]
    write_json(workdir / "map.json", {"traces": traces, **where, "map": differences})
    return differences


def map_table(differences: Sequence[dict[str, Any]]) -> str:
    """The map as text: a line per cell, relative differences in %, * where 95 % exclude zero."""
    pairs = list(dict.fromkeys((d["first"], d["second"]) for d in differences))
    heads = [f"{a} - {b}".replace("cluster_input", "ci").replace("packd", "pk") for a, b in pairs]
    lines = [
        f"{'rows':>8} {'teacher':>8} {'params':>7} {'no_kd':>7}"
        + "".join(f"{h:>19}" for h in heads)
    ]
    for cell in dict.fromkeys((d["rows"], d["teacher_steps"], d["width"]) for d in differences):
        own = [d for d in differences if (d["rows"], d["teacher_steps"], d["width"]) == cell]
        line = f"{cell[0] or 'all':>8} {cell[1]:>8} {own[0]['params']:>7,} "
        line += f"{own[0]['means']['no_kd']:>7.4f}"
        for pair in pairs:
            d = next(d for d in own if (d["first"], d["second"]) == pair)
            sure = "*" if abs(d["difference"]) > (d["half_width"] or 0) else " "
            text = f"{100 * d['relative']:+.1f} ± {100 * (d['relative_half_width'] or 0):.1f}{sure}"
            line += f"{text:>19}"
        lines.append(line)
    return "\n".join(lines)


def _claim(mine: dict[str, Any], workdir: Path) -> None:
    """Makes the workdir this map's: cells that another left would be taken for its own."""
    path = workdir / "config.json"
    if not path.exists():
        write_json(path, mine)
    elif json.loads(path.read_text()) != mine:
        raise ConfigError(
            f"{workdir} holds a map of another config, teachers, shift or rate; name another"
            " workdir, or remove this one"
        )


def _in_regime(config: Config, cell: Cell) -> Config:
    ((name, entry),) = config.entries.items()
    entry = dataclasses.replace(
        entry,
        student=dataclasses.replace(entry.student, width=cell.width),
        student_train=dataclasses.replace(entry.student_train, rows=cell.rows),
        teacher_train=dataclasses.replace(entry.teacher_train, steps=cell.teacher_steps),
    )
    return dataclasses.replace(config, entries={name: entry})


def _run_cell(
    config: Config,
    sources: Sequence[Source],
    workdir: Path,
    cell: Cell,
    log: RunLog,
    teacher_paths: Sequence[str],
    shift_pages: int,
    adapt_rate: float,
) -> list[dict[str, Any]]:
    ((name, entry),) = config.entries.items()
    taught = list(sources)
    if teacher_paths:
        theirs = dataclasses.replace(config.trace, paths=tuple(teacher_paths))
        taught = load_sources(theirs, workdir)
    splits = encode_splits(taught, config.trace, entry.features)
    home = workdir / f"teacher{cell.teacher_steps}"
    material = prepare(entry, splits, config, home, log)
    if teacher_paths:
        own = encode_splits(sources, config.trace, entry.features, splits.pc_vocabulary)
        material = _transplanted(material, own)
    home = workdir / "students" / str(cell)
    chosen = choose(material, home, log)
    students = train_students(chosen, config.seeds, material, home, "map", log)
    if shift_pages:
        material = _transplanted(material, _shifted(material, sources, entry, shift_pages))
    if adapt_rate:
        tests = judge_adapting(students, material, adapt_rate)
    else:
        tests = results.judge_on_test(students, material)
    return results.student_rows(name, students, tests, material, sources, home)


def _transplanted(material: Material, splits: Splits) -> Material:
    """The same teachers and clusters for the rows of other splits."""
    look_back = material.entry.features.look_back

    def assigned(clusters: Clusters) -> Clusters:
        fitted = clusters.fitted
        return Clusters(fitted, assign_splits(fitted, splits, look_back))

    clusters = {key: assigned(own) for key, own in material.clusters.items()}
    teachers = {}
    for key, own in material.teachers.items():
        ids = row_clusters(key, splits, clusters[key.clusters] if key.clusters else None)
        teachers[key] = own._replace(ids=ids)
    return material._replace(splits=splits, clusters=clusters, teachers=teachers)


def _shifted(
    material: Material, sources: Sequence[Source], entry: EntryConfig, pages: int
) -> Splits:
    """The splits with the test addresses moved by whole pages; the order of pages stays."""
    moved = []
    for source in sources:
        address = source.trace.address + np.uint64(pages * 4096)
        moved.append(dataclasses.replace(source, trace=source.trace._replace(address=address)))
    vocabulary = material.splits.pc_vocabulary
    shifted = encode_splits(moved, material.config.trace, entry.features, vocabulary)
    return dataclasses.replace(material.splits, test=shifted.test)
