"""The command that plans, as people call it, and its plot."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_latency_model import tiny_model

from latency_jax.partition.plan import Chain, Device, Link, best_plan
from latency_jax.partition.plot import write_partition_plot

ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, "-m", "experiments.plan_partition", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    directory = tmp_path_factory.mktemp("latency_models")
    for name, flop_rate in (("edge", 1e9), ("server", 4e9)):
        tiny_model(flop_rate, only=("dense", "layer_norm"), rows=20).save(directory / f"{name}.zip")
    return [f"--device={name}={directory / name}.zip" for name in ("edge", "server")]


MODEL = ("--model=experiments.models.packd:mixer_student", "--input=1,10:uint8")
MODEL = (*MODEL, "--input=1,10:uint8", "--input=1:uint8")


def test_both_plans_as_json_and_a_plot(devices, tmp_path):
    path = tmp_path / "plan.png"
    result = run(*MODEL, *devices, "--link=1e8,1e-5", f"--plot={path}", "--json")
    assert result.returncode == 0, result.stderr
    plans = json.loads(result.stdout)["plans"]
    latency, throughput = plans["latency"], plans["throughput"]
    assert latency["latency_s"] <= throughput["latency_s"]
    assert throughput["throughput"] >= latency["throughput"]
    for plan in plans.values():
        spent = sum(d["seconds"] for d in plan["devices"]) + sum(
            x["seconds"] for x in plan["links"]
        )
        assert plan["latency_s"] == pytest.approx(spent)
        assert [d["name"] for d in plan["devices"]] == ["edge", "server"]
        assert sum(d["parts"] for d in plan["devices"]) == plan["bounds"][-1]
    edge_s, server_s = latency["alone_s"]
    assert edge_s > server_s and latency["latency_s"] <= edge_s
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--link=fast"], "--link=fast: expected BYTES_PER_SECOND,DELAY_SECONDS"),
        (["--link=1,1", "--link=1,1"], "2 --device and 2 --link given"),
        (["--link=1,1", "--plot=plan.gif"], "ends in .svg or .png"),
    ],
)
def test_mistakes_are_told_in_one_line(devices, arguments, told):
    result = run(*MODEL, *devices, *arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert told in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("count", [2, 3])
def test_a_plot_shows_devices_cuts_and_objectives(tmp_path, count):
    latencies = (np.array([1.0, 4.0, 1.0]), np.array([0.5, 0.5, 0.5]), np.array([0.1, 0.2, 0.3]))
    names = ("edge", "gateway", "server")[:count]
    chain = Chain(
        [Device(*pair) for pair in zip(names, latencies)],
        [Link(100.0, 0.1)] * (count - 1),
        np.array([800, 100, 400, 0]),
    )
    path = tmp_path / "plan.svg"
    path.write_text("older")
    plans = {objective: best_plan(chain, objective) for objective in ("latency", "throughput")}
    write_partition_plot(chain, plans, path)
    texts = re.findall(r"<!-- (.+?) -->", path.read_text())
    for text in (*names, "link", "best for latency", "best for throughput", "KiB across the cut"):
        assert text in texts
    assert list(tmp_path.iterdir()) == [path]
