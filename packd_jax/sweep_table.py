"""The table of a sweep, `sweep.jsonl`: one JSON line a row, and what trials left beside it.

A point's rows have its identity as `config`. A point that a scheduler stopped early has one row
with `stopped` = {"evaluation", "of"}: it has no test scores, as nobody looked at test. Trials on
other machines write `trials/<identity>/rows.jsonl`, which `collect` brings into the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax.staged_file import write_text

Row = Mapping[str, Any]


def read_rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a sweep so far; a line torn off by a kill is cut from the file."""
    if not table.exists():
        return []
    whole, _, torn = table.read_text(encoding="utf-8").rpartition("\n")
    if torn:
        table.write_text(whole + "\n" if whole else "", encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def append_rows(table: Path, rows: Iterable[Row]) -> None:
    """Adds rows in one write: a kill leaves all of them, or a torn line that read_rows drops."""
    with table.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def finished(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows of points that were trained to the end."""
    return [dict(row) for row in rows if "stopped" not in row]


def settled(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows, without those of stopped points that were trained to the end since."""
    done = {row["config"] for row in finished(rows)}
    return [dict(row) for row in rows if "stopped" not in row or row["config"] not in done]


def validation_score(rows: Iterable[Row]) -> float:
    """What searches maximise: the mean F1 on validation of all that was trained in a point."""
    trained = [row["validation_f1"] for row in rows if row["arm"] != "marginal"]
    return float(np.mean(trained)) if trained else 0.0


def trial_rows(workdir: Path, identity: str) -> Path:
    """The file that a trial of that point leaves when it is done."""
    return workdir / "trials" / identity / "rows.jsonl"


def write_trial(workdir: Path, identity: str, rows: Iterable[Row]) -> None:
    """Leaves the rows of a trial: all or none, and the same ones however often it is run."""
    path = trial_rows(workdir, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def collect(workdir: Path) -> list[dict[str, Any]]:
    """Brings rows of finished trials that the table lacks into it, once; returns all rows."""
    table = workdir / "sweep.jsonl"
    rows = read_rows(table)
    done = {row["config"] for row in finished(rows)}
    for path in sorted((workdir / "trials").glob("*/rows.jsonl")):
        if path.parent.name not in done:
            found = read_rows(path)
            append_rows(table, found)
            rows += found
    return rows
