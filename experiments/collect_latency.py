"""Measures Flax modules on this machine: a dataset to learn their latencies from.

python -m experiments.collect_latency --workdir=DIR --minutes=10
python -m experiments.collect_latency --workdir=DIR --kinds=conv2d,dense --config.seed=1
python -m experiments.collect_latency --workdir=DIR --config=experiments/configs/latency.py:careful
python -m experiments.collect_latency --workdir=DIR --engine=ray --address=HOST:6379

Leaves measurements.jsonl and collection.json in --workdir; of a Ray cluster, each machine's in
--workdir/ENVIRONMENT, and fleet.json. The same command again goes on where an interrupted one
stopped, and with more --minutes where a finished one did.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from experiments.command_line import define_config, define_register, register_kinds, run
from experiments.configs.latency import drawn
from latency_jax.collection.collect import AT_ONCE, collect
from latency_jax.collection.dataset import describe, read_dataset, summary
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.fleet import FleetError, collect_fleet
from latency_jax.collection.machine_lock import MachineBusyError, exclusive, measured_device
from latency_jax.config import CollectConfig, read_config
from latency_jax.environment import run_inline
from latency_jax.measuring.load import LoadError
from latency_jax.parameters import ParameterError
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json

CONFIG = define_config("default", "latency")
WORKDIR = flags.DEFINE_string("workdir", "runs/latency", "where everything goes")
MINUTES = flags.DEFINE_float("minutes", None, "time to spend, also by earlier runs of the command")
REGISTER = define_register()
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "this machine | a Ray cluster")
ADDRESS = flags.DEFINE_string("address", None, "host:port of the cluster; without, one is started")
KINDS = flags.DEFINE_list("kinds", None, "module kinds; without any, those of the config")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --kinds={argv[1]}")
    register_kinds(REGISTER.value)
    config = _config()
    if ENGINE.value == "ray":
        print(collect_fleet(config, WORKDIR.value, ADDRESS.value, REGISTER.value).describe())
        return
    if ADDRESS.value:
        raise ConfigError(f"--address={ADDRESS.value}: is for --engine=ray")
    run_inline()
    device = measured_device(jax.default_backend())
    with exclusive(device, f"collects into {WORKDIR.value}") as lock:
        if not collect(config, WORKDIR.value, AT_ONCE).is_finished:
            again = [sys.executable, *sys.orig_argv[1:]]
            os.execve(sys.executable, again, lock.environment())
    dataset = read_dataset(WORKDIR.value)
    write_json(Path(WORKDIR.value) / "collection.json", summary(dataset))
    print(describe(dataset))


def _config() -> CollectConfig:
    """The checked configuration of the flags."""
    try:
        values = drawn(CONFIG.value)
        if KINDS.value:
            values["kinds"] = tuple(KINDS.value)
            drawn_of = values["customizations"]
            values["customizations"] = {k: drawn_of[k] for k in KINDS.value if k in drawn_of}
        values["minutes"] = values["minutes"] if MINUTES.value is None else MINUTES.value
        return read_config(values)
    except OSError as error:  # ml_collections reports a missing file when it is first asked for
        raise ConfigError(f"--config: {error}") from None


if __name__ == "__main__":
    run(main, DatasetError, FleetError, LoadError, MachineBusyError, ParameterError)
