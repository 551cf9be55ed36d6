"""Predicts what a Flax model will cost, module by module, without running it.

python -m experiments.predict_latency --latency_model=OUT/latency_model.zip \\
    --model=experiments.models.resnet:resnet18 --input=1,224,224,3:float32 [--measure] [--json]

--model names a factory: it is imported and called, and gives a linen module. Each argument of
the model has an --input, batch first; the table is printed, and --out gets it as JSON.
--condition=cpu_utilization=0.5 predicts for a busy machine; with --measure the same load is then
made. A latency model of several devices predicts for --device: one that it was fitted to, another
known GPU, or one of --devices=FILE.json. Takes a few seconds, most of it tracing.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from latency_jax.artifacts import ArtifactError
from latency_jax.devices import DeviceError, find_device, read_devices
from latency_jax.environment import environment, run_inline
from latency_jax.known_devices import KNOWN
from latency_jax.latency_model import LatencyModel
from latency_jax.measuring.load import LoadError
from latency_jax.parameters import ParameterError
from latency_jax.table import TableError
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.measured_model import measure_model
from latency_jax.whole_model.named_model import (
    format_input,
    make_model,
    parse_conditions,
    parse_inputs,
)
from latency_jax.whole_model.predict import predict_model
from latency_jax.whole_model.report import as_json, as_text
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json

LATENCY_MODEL = flags.DEFINE_string("latency_model", None, "what fit_latency left", required=True)
REGISTER = define_register()
MODEL = flags.DEFINE_string("model", None, "package.module:factory", required=True)
INPUT = flags.DEFINE_multi_string("input", [], "shape and dtype, like 1,224,224,3:float32")
CONDITION = flags.DEFINE_multi_string("condition", [], "name=value, like cpu_utilization=0.5")
DEVICE = flags.DEFINE_string("device", None, "for which a model of several devices predicts")
DEVICES = flags.DEFINE_string("devices", None, "a JSON list of descriptors of your devices")
MEASURE = flags.DEFINE_bool("measure", False, "measure the model too, on this machine")
JSON = flags.DEFINE_bool("json", False, "print JSON instead of a table")
OUT = flags.DEFINE_string("out", "runs/prediction.json", "where the JSON goes as well")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --model={argv[1]}")
    register_kinds(REGISTER.value)
    run_inline()
    inputs, conditions = parse_inputs(INPUT.value), parse_conditions(CONDITION.value)
    latency_model = LatencyModel.load(LATENCY_MODEL.value)
    if DEVICE.value:
        own = read_devices(DEVICES.value) if DEVICES.value else ()
        known = (*own, *latency_model.devices.values(), *KNOWN)
        latency_model = latency_model.for_device(find_device(DEVICE.value, known))
    module = make_model(MODEL.value)
    graph = capture(module, inputs, latency_model.kinds)
    predicted = predict_model(latency_model, graph, conditions)
    measured_s = measure_model(module, inputs, conditions) if MEASURE.value else None
    about: dict[str, Any] = {
        "model": MODEL.value,
        "inputs": [format_input(x) for x in inputs],
        "conditions": conditions,
        "measured_s": measured_s,
        "fitted_on": latency_model.environment.get("id"),
        "measured_on": environment()["id"] if MEASURE.value else None,
    }
    report = as_json(predicted, graph, about)
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if measured_s is not None and about["measured_on"] != about["fitted_on"]:
        print(
            f"warning: the latency model was measured in environment {about['fitted_on']}, and "
            f"this is {about['measured_on']}: expect other latencies here",
            file=sys.stderr,
        )
    Path(OUT.value).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(OUT.value), report)
    print(json.dumps(report, indent=2) if JSON.value else as_text(report))


if __name__ == "__main__":
    run(main, ArtifactError, DeviceError, LoadError, ParameterError, TableError)
