"""Measures what the plans of a latency model lose against the best split of a model in two.

python -m experiments.measure_partition --latency_model=OUT/latency_model.zip --workdir=OUT3
python -m experiments.measure_partition --latency_model=... --workdir=OUT3 --splits=0 \\
    --models=resnet:resnet18,unet:unet --device=busy,memory_pressure=1 --device=idle \\
    --link=1.25e9,0.0001

The two devices are this machine under two conditions, NAME or NAME,cpu_utilization=0.5, in the
order of the chain; NAME=FILE,... gives one a latency model of its own. --models are names of
experiments/models/zoo.py, with a batch of one. Measures the split that is best by prediction,
corrects the prediction by it and looks again, --tries times at most; and --splits cuts of each
model, evenly spread (0: all cuts), a minute or two a model. OUT3/measured.json keeps every piece as
it is measured, and the same command goes on after an interruption. Leaves OUT3/partition.json and
.md: regrets for latency and for throughput, of the split that was chosen by prediction and of the
refined one, which are its measured time over that of the best split measured, with pieces that hold
others taking no less than these.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from experiments.models.zoo import ZOO
from latency_jax.artifacts import ArtifactError
from latency_jax.environment import environment, run_inline
from latency_jax.latency_model import LatencyModel
from latency_jax.measuring.load import LoadError
from latency_jax.measuring.timing import CAREFUL, FAST
from latency_jax.parameters import ParameterError
from latency_jax.partition.measured_pieces import MeasuredPieces, load_of
from latency_jax.partition.model_chain import Machine, model_chain, parse_link
from latency_jax.partition.plan import OBJECTIVES
from latency_jax.partition.refined import refine
from latency_jax.partition.regret import measure_splits, regrets, spread_cuts
from latency_jax.partition.regret_report import as_json, as_markdown
from latency_jax.table import TableError
from latency_jax.whole_model.measured_model import WholeModel
from latency_jax.whole_model.named_model import make_model, parse_conditions
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json
from packd_jax.staged_file import write_text

REGISTER = define_register()
LATENCY_MODEL = flags.DEFINE_string("latency_model", "", "what fit_latency left, for all devices")
WORKDIR = flags.DEFINE_string("workdir", "runs/partition", "where everything goes")
MODELS = flags.DEFINE_list(
    "models",
    ["resnet:resnet18", "mobilenet:mobilenet_v2", "transformers:vit_tiny"],
    "names of experiments/models/zoo.py",
)
DEVICE = flags.DEFINE_multi_string(
    "device", ["idle", "busy,cpu_utilization=0.5"], "NAME[=FILE][,CONDITION=VALUE...], two of them"
)
LINK = flags.DEFINE_string("link", "1.25e9,0.0001", "BYTES_PER_SECOND,DELAY_SECONDS")
SPLITS = flags.DEFINE_integer("splits", 12, "cuts to measure, 0 for all", lower_bound=0)
TRIES = flags.DEFINE_integer("tries", 4, "cuts to refine a plan by, at most", lower_bound=1)
MODE = flags.DEFINE_enum("mode", "careful", ["careful", "fast"], "how long pieces are timed")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --workdir={argv[1]}")
    unknown = [name for name in MODELS.value if name not in ZOO]
    if unknown or not MODELS.value:
        raise ConfigError(f"--models={','.join(MODELS.value)}: expected one or more of {list(ZOO)}")
    if SPLITS.value == 1:
        raise ConfigError("--splits=1: expected 2 (both ends) or more, or 0 for all")
    register_kinds(REGISTER.value)
    run_inline()
    link = parse_link(LINK.value)
    devices = [_device(text) for text in DEVICE.value]
    machines = [machine for machine, _ in devices]
    if len(machines) != 2:
        raise ConfigError(f"{len(machines)} --device given; expected two, like --device=idle")
    first, second = (load_of(machine.conditions) for machine in machines)
    workdir = Path(WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    here = environment()
    config = {"careful": CAREFUL, "fast": FAST}[MODE.value]
    pieces = MeasuredPieces(workdir / "measured.json", here["id"], (first, second), config)
    found, models = {}, {}
    for name in MODELS.value:
        model = WholeModel(f"experiments.models.{name}", ZOO[name], 1)
        planned = model_chain(make_model(model.factory), model.shapes(), machines, [link])
        for warning in planned.warnings:
            print(f"warning: {name}: {warning}", file=sys.stderr)
        measure = partial(measure_splits, model, planned, (first, second), pieces)
        refined = {o: refine(planned.chain, o, measure, TRIES.value) for o in OBJECTIVES}
        tried = (cut for plan in refined.values() for cut in plan.tried)
        cuts = sorted({*spread_cuts(planned.chain, SPLITS.value), *tried})
        print(f"{name}: measuring {len(cuts)} of {planned.chain.parts + 1} cuts", file=sys.stderr)
        measured = measure(cuts)
        found[name] = regrets(planned.chain, measured, refined)
        models[name] = as_json(planned, measured, found[name])
    table = as_markdown(found)
    write_text(workdir / "partition.md", table + "\n")
    report: dict[str, Any] = {
        "environment": here,
        "link": link._asdict(),
        "devices": [
            {
                "name": machine.name,
                "fitted_on": fitted_on,
                "conditions": machine.conditions,
                "achieved": pieces.achieved(load)._asdict(),
            }
            for (machine, fitted_on), load in zip(devices, (first, second))
        ],
        "models": models,
    }
    write_json(workdir / "partition.json", report)
    print(table)


def _device(text: str) -> tuple[Machine, Any]:
    """And the id of the environment that its latency model is of."""
    device, *conditions = text.split(",")
    name, _, file = device.partition("=")
    if not name or not (file or LATENCY_MODEL.value):
        raise ConfigError(
            f"--device={text}: expected NAME[,CONDITION=VALUE...] and a --latency_model, or "
            "NAME=FILE[,CONDITION=VALUE...]"
        )
    model = LatencyModel.load(file or LATENCY_MODEL.value)
    return Machine(name, model, parse_conditions(conditions)), model.environment.get("id")


if __name__ == "__main__":
    run(main, ArtifactError, LoadError, ParameterError, TableError)
