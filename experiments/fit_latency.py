"""Learns module latencies from measurements, selects regressors, and leaves a LatencyModel.

python -m experiments.fit_latency --data=DIR --workdir=OUT
python -m experiments.fit_latency --data=FILE.csv --workdir=OUT --kind=conv2d \\
    --columns=batch_size=batchsize,in_channels=channels_in,... --target=timeUsed_median --unit=ms
python -m experiments.fit_latency --data=FILE.csv --workdir=OUT --kind=generic \\
    --columns=layers=encoder_layer_num,... --target=latency_encoder,latency_decoder --unit=ms

DIR is what experiments.collect_latency left; --data=DIR1,DIR2 takes several. For a file,
--where=COLUMN=TEXT keeps some rows and --values=padding.1=SAME says what texts mean. Leaves
results.json, latency_model.zip, front.svg and report.html.

Collections of several machines, or a file with --device_column=COLUMN, make a LatencyModel of
several devices: what data sheets say of each becomes an input. Devices that are no known GPUs
are described in --devices=FILE.json; --held_out="device=Tesla T4" tests on one that is not learnt.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from experiments.latency_data import read_data
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.csv_table import CsvTableError
from latency_jax.devices import DeviceError
from latency_jax.fitting.fit import fit
from latency_jax.fitting.report import describe, show
from latency_jax.fitting.study import FitConfig
from latency_jax.parameters import ParameterError
from latency_jax.selection import CALLS, MODES, Goal
from latency_jax.table import TableError
from packd_jax.config import ConfigError

WORKDIR = flags.DEFINE_string("workdir", "runs/latency_model", "where everything goes")
SPLIT_SEED = flags.DEFINE_integer("split_seed", 42, "of train_test_split", lower_bound=0)
SEEDS = flags.DEFINE_integer("seeds", 1, "splits, of seeds from --split_seed on", lower_bound=1)
REGRESSORS = flags.DEFINE_list("regressors", [], "which to fit; without any, all")
REGISTER = define_register()
MODE = flags.DEFINE_enum("mode", "time", MODES, "what selection minimises for the LatencyModel")
TOLERANCE = flags.DEFINE_float("tolerance", 0.003, "accuracy that selection may give up")
WITHOUT = flags.DEFINE_list("without", [], "columns that are left out, as cpu_utilization")
TEST_SHARE = flags.DEFINE_float("test_share", 0.2, "of the rows, which are not learnt from")
HELD_OUT = flags.DEFINE_string(
    "held_out", "random", "test rows: random, largest, COLUMN=LOW:HIGH or device=NAME"
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
    data = read_data()
    command = shlex.join(["python", "-m", "experiments.fit_latency", *sys.argv[1:]])
    found = fit(
        data.tables,
        config,
        Path(WORKDIR.value),
        data.about,
        command,
        data.dataset,
        show,
        data.devices,
        data.device,
    )
    print(describe(found))


if __name__ == "__main__":
    run(main, CsvTableError, DatasetError, DeviceError, ParameterError, TableError)
