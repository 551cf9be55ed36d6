"""One Markdown table out of several fits: rows are regressors and selections, columns are data.

python -m experiments.latency_table runs/conv_v100 runs/dense_v100 ... [--kind=conv2d] [--out=FILE]

A cell is MAPE in % / share within ±10 % / R² on test, means over split seeds, with the half width
of the 95 % interval of the share. Of several kinds it is the mean over kinds, or --kind's own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError
from packd_jax.staged_file import write_text
from packd_jax.summary import interval

KIND = flags.DEFINE_string("kind", "", "of fits of several kinds, the one to show")
OUT = flags.DEFINE_string("out", "", "write the table there too")
SCORES = ("mape", "within_10", "r2")


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise ConfigError("no fit given; expected workdirs of experiments.fit_latency")
    cells = {Path(directory).name: _cells(Path(directory)) for directory in argv[1:]}
    names = dict.fromkeys(name for of_data in cells.values() for name in of_data)
    lines = [f"| | {' | '.join(cells)} |", f"|---|{'---:|' * len(cells)}"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(c.get(name, '') for c in cells.values())} |")
    table = "\n".join(lines) + "\n"
    if OUT.value:
        write_text(OUT.value, table)
    print(table, end="")


def _cells(workdir: Path) -> dict[str, str]:
    path = workdir / "results.json"
    if not path.exists():
        raise ConfigError(f"{path}: no such file; expected the workdir of a finished fit")
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, scores in _scores(json.loads(path.read_text(encoding="utf-8"))):
        found.setdefault(name, []).append(scores)
    return {name: _cell(scores) for name, scores in found.items()}


def _scores(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(row of the table, scores) of each split seed."""
    kinds = {row["kind"] for row in found["rows"]}
    kind = KIND.value or (kinds.pop() if len(kinds) == 1 else None)
    for row in found["rows"]:
        if row["kind"] == kind:
            yield row["regressor"], row
    names = {row["regressor"] for row in found["rows"]}
    for row in found["selection"]:
        name = f"selection, {row['set']}" if row["set"] not in names else row["set"]
        if kind is None:
            yield name, row["macro"]
        elif row["set"] not in names and kind in row["kinds"]:
            yield name, row["kinds"][kind]


def _cell(scores: Sequence[Mapping[str, Any]]) -> str:
    mape, within_10, r2 = (interval(row[name] for row in scores) for name in SCORES)
    spread = within_10.half_width
    around = "" if np.isnan(spread) else f" ± {100 * spread:.1f}"
    return f"{100 * mape.mean:.2f} / {100 * within_10.mean:.1f}{around} / {r2.mean:.3f}"


if __name__ == "__main__":
    run(main)
