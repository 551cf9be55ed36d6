"""Every regressor on latencies that others have measured: seven tables of four projects.

python -m experiments.latency_thirdparty --data=DIR --workdir=OUT --seeds=5
python -m experiments.latency_thirdparty --data=DIR --workdir=OUT --tables=conv_v100 \\
    --regressors=hist_gb,medn

--data holds the files, under these names:

    cdecatapult_convolution_V100_forward.csv, cdecatapult_dense_V100_forward.csv
        CDECatapult/ml-performance-prediction (Apache-2.0), commit e649f32d
    neusight_conv_train.csv, neusight_linear_train.csv
        sitar-lab/NeuSight (MIT), commit 6945927d: conv and linear, latency in ms
    hat_transformer_models.csv
        mit-han-lab/hardware-aware-transformers (MIT), commit 70e5a279

Leaves OUT/TABLE with what experiments.fit_latency leaves, and OUT/latency_thirdparty.md and .json
of all of them. A table whose results.json is there, of the same settings, is not fitted again, so
an interrupted command goes on.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import run
from experiments.configs.latency_tables import SOURCES
from latency_jax.csv_table import CsvTableError
from latency_jax.environment import environment
from latency_jax.fitting.compare import comparison, costs, gains
from latency_jax.fitting.fit import fit
from latency_jax.fitting.report import show
from latency_jax.fitting.study import FitConfig
from latency_jax.table import TableError
from packd_jax.config import ConfigError, to_json_dict
from packd_jax.json_files import write_json
from packd_jax.staged_file import write_text

DATA = flags.DEFINE_string("data", None, "the directory of the files", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/latency_thirdparty", "where everything goes")
TABLES = flags.DEFINE_list("tables", [], "which; without any, all")
SEEDS = flags.DEFINE_integer("seeds", 5, "splits, of seeds from --split_seed on", lower_bound=1)
SPLIT_SEED = flags.DEFINE_integer("split_seed", 42, "of train_test_split", lower_bound=0)
REGRESSORS = flags.DEFINE_list("regressors", [], "which to fit; without any, all")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --data={argv[1]}")
    names = TABLES.value or list(SOURCES)
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        raise ConfigError(f"--tables={','.join(unknown)}: expected some of {', '.join(SOURCES)}")
    config = FitConfig(tuple(REGRESSORS.value), SPLIT_SEED.value, SEEDS.value)
    command = shlex.join(["python", "-m", "experiments.latency_thirdparty", *sys.argv[1:]])
    workdir, fits = Path(WORKDIR.value), {}
    for name in names:
        known = _known(workdir / name / "results.json", config)
        if known is None:
            print(f"{name}: {SOURCES[name].file}", flush=True)
            table = SOURCES[name].read(Path(DATA.value))
            about = {"data": SOURCES[name].file, "repeatability": None}
            tables = {table.kind: table}
            known = fit(tables, config, workdir / name, about, command, on_fit=show)
        fits[name] = known
    parts = [
        "MAPE in % / share within ±10 % / R² on test:",
        comparison(fits),
        "What selection gains on test over other sets, overall:",
        gains(fits),
        costs(fits),
    ]
    write_text(workdir / "latency_thirdparty.md", "\n\n".join(map(str.strip, parts)) + "\n")
    rows = {
        name: [{k: v for k, v in row.items() if k != "validation"} for row in found["rows"]]
        for name, found in fits.items()
    }
    gained = {name: found["gains"] for name, found in fits.items()}
    head: dict[str, Any] = {
        "command": command,
        "config": to_json_dict(config),
        "machine": environment(),
    }
    write_json(workdir / "latency_thirdparty.json", {**head, "rows": rows, "gains": gained})
    print(parts[1])


def _known(path: Path, config: FitConfig) -> dict[str, Any] | None:
    """What an earlier run of the same settings found."""
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("config") == to_json_dict(config) else None


if __name__ == "__main__":
    run(main, CsvTableError, TableError)
