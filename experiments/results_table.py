"""One Markdown table out of several studies: rows are entries and arms, columns are traces.

python -m experiments.results_table runs/table_tokens-cc runs/table_tokens-bfs ... [--out=FILE.md]
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.command_line import run
from packd_jax import summary
from packd_jax.config import ConfigError
from packd_jax.staged_file import write_text

OUT = flags.DEFINE_string("out", "", "write the table there too")


def main(argv: Sequence[str]) -> None:
    studies: dict[str, list[dict[str, Any]]] = {}
    for directory in argv[1:]:
        path = Path(directory) / "results.json"
        if not path.exists():
            raise ConfigError(f"{path}: no such file; expected the workdir of a finished study")
        found = json.loads(path.read_text(encoding="utf-8"))
        trace = Path(found["trace"]["path"]).name.split(".")[0]
        studies.setdefault(trace, []).extend(found["rows"])
    if not studies:
        raise ConfigError("no study given; expected workdirs of finished studies")
    means = {trace: summary.by_arm(rows, "f1") for trace, rows in studies.items()}
    sizes = {(r["entry"], r["arm"]): r["params"] for rows in studies.values() for r in rows}
    lines = [
        f"| entry | arm | params | {' | '.join(studies)} |",
        f"|---|---|---:|{'---:|' * len(studies)}",
    ]
    for entry, arm in sizes:
        cells = [_cell(means[trace].get((entry, arm))) for trace in studies]
        lines.append(f"| {entry} | {arm} | {sizes[entry, arm]:,} | {' | '.join(cells)} |")
    text = "\n".join(lines)
    if OUT.value:
        write_text(OUT.value, text + "\n")
    print(text)


def _cell(value: summary.Interval | None) -> str:
    if value is None:
        return "–"
    spread = "" if np.isnan(value.half_width) else f" ± {value.half_width:.4f}"
    return f"{value.mean:.4f}{spread}"


if __name__ == "__main__":
    run(main)
