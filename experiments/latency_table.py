"""One Markdown table out of several fits: rows are regressors and selections, columns are data.

python -m experiments.latency_table runs/conv_v100 runs/dense_v100 ... [--kind=conv2d] [--out=FILE]

A cell is MAPE in % / share within ±10 % / R² on test, means over split seeds, with the half width
of the 95 % interval of the share. Of several kinds it is the mean over kinds, or --kind's own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import run
from latency_jax.fitting.compare import comparison
from packd_jax.config import ConfigError
from packd_jax.staged_file import write_text

KIND = flags.DEFINE_string("kind", "", "of fits of several kinds, the one to show")
OUT = flags.DEFINE_string("out", "", "write the table there too")


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise ConfigError("no fit given; expected workdirs of experiments.fit_latency")
    fits = {Path(directory).name: _found(Path(directory)) for directory in argv[1:]}
    table = comparison(fits, KIND.value)
    if OUT.value:
        write_text(OUT.value, table)
    print(table, end="")


def _found(workdir: Path) -> Any:
    path = workdir / "results.json"
    if not path.exists():
        raise ConfigError(f"{path}: no such file; expected the workdir of a finished fit")
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
