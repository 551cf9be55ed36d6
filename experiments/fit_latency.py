"""Learns module latencies from measurements, selects regressors, and leaves a LatencyModel.

python -m experiments.fit_latency --data=DIR --workdir=OUT
python -m experiments.fit_latency --data=FILE.csv --workdir=OUT --kind=conv2d \\
    --columns=batch_size=batchsize,in_channels=channels_in,... --target=timeUsed_median --unit=ms
python -m experiments.fit_latency --data=FILE.csv --workdir=OUT --kind=generic \\
    --columns=layers=encoder_layer_num,... --target=latency_encoder,latency_decoder --unit=ms

DIR is what experiments.collect_latency left; --data=DIR1,DIR2 takes several. For a file,
--where=COLUMN=TEXT keeps some rows and --values=padding.1=SAME says what texts mean. Leaves
results.json, latency_model.zip, front.svg and report.html.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from latency_jax.collection.dataset import Dataset, read_datasets
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.csv_table import CsvTableError, read_csv_table
from latency_jax.fitting.fit import fit
from latency_jax.fitting.report import describe, show
from latency_jax.fitting.study import FitConfig
from latency_jax.parameters import ParameterError
from latency_jax.selection import CALLS, MODES, Goal
from latency_jax.table import Table, TableError
from packd_jax.config import ConfigError

DATA = flags.DEFINE_list(
    "data", None, "directories of one or more datasets, or a CSV file", required=True
)
WORKDIR = flags.DEFINE_string("workdir", "runs/latency_model", "where everything goes")
WINDOW_QUANTILE = flags.DEFINE_float(
    "window_quantile", None, "another one of a dataset's windows to be the latency", 0.0, 1.0
)
KIND = flags.DEFINE_string("kind", None, "CSV: the module kind, or generic")
COLUMNS = flags.DEFINE_list("columns", [], "CSV: PARAMETER=COLUMN of every input")
VALUES = flags.DEFINE_list("values", [], "CSV: PARAMETER.TEXT=VALUE, what a text there means")
WHERE = flags.DEFINE_list("where", [], "CSV: COLUMN=TEXT that rows must have")
TARGET = flags.DEFINE_list("target", [], "CSV: the column of latencies; several are added")
UNIT = flags.DEFINE_enum("unit", "ms", ["s", "ms", "us"], "CSV: what latencies are in")
SPLIT_SEED = flags.DEFINE_integer("split_seed", 42, "of train_test_split", lower_bound=0)
SEEDS = flags.DEFINE_integer("seeds", 1, "splits, of seeds from --split_seed on", lower_bound=1)
REGRESSORS = flags.DEFINE_list("regressors", [], "which to fit; without any, all")
REGISTER = define_register()
MODE = flags.DEFINE_enum("mode", "time", MODES, "what selection minimises for the LatencyModel")
TOLERANCE = flags.DEFINE_float("tolerance", 0.003, "accuracy that selection may give up")
WITHOUT = flags.DEFINE_list("without", [], "columns that are left out, as cpu_utilization")
TEST_SHARE = flags.DEFINE_float("test_share", 0.2, "of the rows, which are not learnt from")
HELD_OUT = flags.DEFINE_string(
    "held_out", "random", "test rows: random, largest, or COLUMN=LOW:HIGH"
)
TIME_WEIGHT = flags.DEFINE_float("time_weight", 0.5, "of time against space, for --mode=weighted")
CALL = flags.DEFINE_enum("calls", "batch", CALLS, "whose time counts: rows of a batch, or one")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --data={argv[1]}")
    register_kinds(REGISTER.value)
    try:
        goal = Goal(MODE.value, TOLERANCE.value, "accuracy", CALL.value, TIME_WEIGHT.value)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    config = FitConfig(
        tuple(REGRESSORS.value),
        SPLIT_SEED.value,
        SEEDS.value,
        goal,
        TEST_SHARE.value,
        without=tuple(WITHOUT.value),
        held_out=HELD_OUT.value,
    )
    tables, about, dataset = _read([Path(path) for path in DATA.value])
    command = shlex.join(["python", "-m", "experiments.fit_latency", *sys.argv[1:]])
    found = fit(tables, config, Path(WORKDIR.value), about, command, dataset, show)
    print(describe(found))


def _read(paths: Sequence[Path]) -> tuple[dict[str, Table], dict[str, Any], Dataset | None]:
    """(tables by kind, what is to be remembered of the data, the dataset: None for a file)."""
    path = paths[0]
    if path.is_dir():
        dataset = read_datasets(paths, WINDOW_QUANTILE.value)
        about = {"data": ",".join(map(str, paths)), "repeatability": dataset.repeatability}
        return dataset.tables, about, dataset
    if len(paths) > 1:
        raise ConfigError(f"--data={','.join(map(str, paths))}: several must all be directories")
    if not path.is_file():
        raise ConfigError(f"--data={path}: no such file or directory")
    if not (KIND.value and COLUMNS.value and TARGET.value):
        raise ConfigError(f"--data={path} is a file: expected --kind, --columns and --target")
    values: dict[str, dict[str, Any]] = {}
    for name, value in _pairs("values", VALUES.value).items():
        parameter, _, text = name.partition(".")
        values.setdefault(parameter, {})[text] = value
    table = read_csv_table(
        path,
        KIND.value,
        _pairs("columns", COLUMNS.value),
        TARGET.value,
        UNIT.value,
        _pairs("where", WHERE.value),
        values,
    )
    return {table.kind: table}, {"data": path.name, "repeatability": None}, None


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in pairs:
            raise ConfigError(f"--{flag}: {text!r}; expected NAME=VALUE, each name once")
        pairs[name] = value
    return pairs


if __name__ == "__main__":
    run(main, CsvTableError, DatasetError, ParameterError, TableError)
