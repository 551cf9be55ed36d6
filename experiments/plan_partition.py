"""Where to split a Flax model between devices, for one input or for a stream of them.

python -m experiments.plan_partition --model=experiments.models.resnet:resnet18 \\
    --input=1,224,224,3:float32 --device=edge=EDGE.zip --device=server=SERVER.zip \\
    --link=12.5e6,0.002 [--plot=plan.svg] [--json]

--device is NAME=FILE, or NAME=FILE,cpu_utilization=0.5 for a machine under conditions; in the
order of the chain, the input on the first. --link is bytes a second and seconds of delay, one
between each device and the next, or one for all. --return_result sends the result back to
the first. Prints the plan of least latency and, named apart, the plan of most throughput. What
such plans are worth is measured by experiments/measure_partition.py.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from latency_jax.artifacts import ArtifactError
from latency_jax.latency_model import LatencyModel
from latency_jax.parameters import ParameterError
from latency_jax.partition.model_chain import Machine, PlannedModel, model_chain, parse_link
from latency_jax.partition.plan import OBJECTIVES, Plan, best_plan
from latency_jax.partition.plot import write_partition_plot
from latency_jax.table import TableError
from latency_jax.whole_model.named_model import (
    format_input,
    make_model,
    parse_conditions,
    parse_inputs,
)
from packd_jax.config import ConfigError

REGISTER = define_register()
MODEL = flags.DEFINE_string("model", None, "package.module:factory", required=True)
INPUT = flags.DEFINE_multi_string("input", [], "shape and dtype, like 1,224,224,3:float32")
DEVICE = flags.DEFINE_multi_string("device", [], "NAME=FILE[,CONDITION=VALUE...]")
LINK = flags.DEFINE_multi_string("link", [], "BYTES_PER_SECOND,DELAY_SECONDS")
RETURN = flags.DEFINE_bool("return_result", False, "the result goes back to the first device")
PLOT = flags.DEFINE_string("plot", "", "write a plot there, .svg or .png")
JSON = flags.DEFINE_bool("json", False, "print JSON instead of text")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --model={argv[1]}")
    register_kinds(REGISTER.value)
    if PLOT.value and Path(PLOT.value).suffix not in (".svg", ".png"):
        raise ConfigError(f"--plot={PLOT.value}: expected a name that ends in .svg or .png")
    inputs = parse_inputs(INPUT.value)
    machines = [_machine(text) for text in DEVICE.value]
    links = [parse_link(text) for text in LINK.value]
    if len(machines) < 2 or len(links) not in (1, len(machines) - 1):
        raise ConfigError(
            f"{len(machines)} --device and {len(links)} --link given; expected two devices or more "
            "and one link, or one between each device and the next"
        )
    links = links * (len(machines) - 1) if len(links) == 1 else links
    planned = model_chain(make_model(MODEL.value), inputs, machines, links, RETURN.value)
    plans = {objective: best_plan(planned.chain, objective) for objective in OBJECTIVES}
    for warning in planned.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if PLOT.value:
        write_partition_plot(planned.chain, plans, Path(PLOT.value))
    report: dict[str, Any] = {
        "model": MODEL.value,
        "inputs": [format_input(x) for x in inputs],
        "plans": {objective: _as_json(plan, planned) for objective, plan in plans.items()},
    }
    print(json.dumps(report, indent=2) if JSON.value else _as_text(report["plans"]))


def _machine(text: str) -> Machine:
    name, equals, rest = text.partition("=")
    file, *conditions = rest.split(",")
    if not name or not equals or not file:
        raise ConfigError(f"--device={text}: expected NAME=FILE[,CONDITION=VALUE...]")
    return Machine(name, LatencyModel.load(file), parse_conditions(conditions))


def _as_json(plan: Plan, planned: PlannedModel) -> dict[str, Any]:
    names, chain = planned.parts.names, planned.chain
    devices = [
        {
            "name": device.name,
            "parts": stop - start,
            "first": names[start] if start < stop else None,
            "last": names[stop - 1] if start < stop else None,
            "seconds": seconds,
        }
        for device, start, stop, seconds in zip(
            chain.devices, plan.bounds, plan.bounds[1:], plan.device_s
        )
    ]
    crossing = [int(chain.cut_bytes[cut]) for cut in plan.bounds[1:-1]]
    return {
        "latency_s": plan.latency_s,
        "throughput": plan.throughput,
        "bounds": plan.bounds,
        "devices": devices,
        "links": [
            {"bytes": size, "seconds": seconds} for size, seconds in zip(crossing, plan.transfer_s)
        ],
        "alone_s": [float(device.latency_s.sum()) for device in chain.devices],
    }


def _as_text(plans: dict[str, dict[str, Any]]) -> str:
    lines = []
    for objective, plan in plans.items():
        lines.append(
            f"best for {objective}: {1e3 * plan['latency_s']:.4g} ms for one input, "
            f"{plan['throughput']:.4g} results/s of a stream"
        )
        for k, device in enumerate(plan["devices"]):
            span = f"{device['first']} to {device['last']}" if device["parts"] else "nothing"
            lines.append(f"  {device['name']:12} {1e3 * device['seconds']:9.4g} ms  {span}")
            if k < len(plan["links"]):
                link = plan["links"][k]
                lines.append(
                    f"  {'link':12} {1e3 * link['seconds']:9.4g} ms  {link['bytes']:,} bytes"
                )
    names = [device["name"] for device in plan["devices"]]
    alone = (f"{name} {1e3 * s:.4g} ms" for name, s in zip(names, plan["alone_s"]))
    return "\n".join([*lines, f"alone: {', '.join(alone)}"])


if __name__ == "__main__":
    run(main, ArtifactError, ParameterError, TableError)
