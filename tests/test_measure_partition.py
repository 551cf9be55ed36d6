"""The command that measures plans, as people call it: interrupted, and called again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_latency_model import tiny_model

ROOT = Path(__file__).parents[1]
SMOKE = (
    "--models=packd:mixer_student",
    "--splits=2",
    "--mode=fast",
)

# Ctrl-C, at a moment where Python does not swallow it: when the first piece has been written.
INTERRUPTED = """
import os, signal
from experiments import command_line, measure_partition
from latency_jax.partition import measured_pieces
from packd_jax.json_files import write_json

def write(path, value):
    write_json(path, value)
    os.kill(os.getpid(), signal.SIGINT)

measured_pieces.write_json = write
command_line.run(measure_partition.main)
"""


def run(*arguments, what=("-m", "experiments.measure_partition")):
    return subprocess.run(
        [sys.executable, *what, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """One with a latency model of its own, one with that of all."""
    path = tmp_path_factory.mktemp("latency_model") / "tiny.zip"
    tiny_model(only=("dense", "layer_norm"), rows=20).save(path)
    return (
        f"--latency_model={path}",
        f"--device=idle={path}",
        "--device=busy,cpu_utilization=0.2",
    )


def test_an_interrupted_study_goes_on(devices, tmp_path):
    command, path = (*devices, *SMOKE, f"--workdir={tmp_path}"), tmp_path / "measured.json"
    interrupted = run(*command, what=("-c", INTERRUPTED))
    assert interrupted.returncode == 130, interrupted.stderr
    assert "the same command goes on from here" in interrupted.stderr
    kept = json.loads(path.read_text())["rows"]
    assert len(kept) == 1

    result = run(*command)
    assert result.returncode == 0, result.stderr
    rows = json.loads(path.read_text())["rows"]
    assert rows[:1] == kept
    places = {(row["load"]["cpu_utilization"], row["start"], row["stop"]) for row in rows}
    assert len(places) == len(rows) and {place[0] for place in places} == {0.0, 0.2}
    table = result.stdout
    assert table == (tmp_path / "partition.md").read_text()
    assert [line.split(" | ")[1] for line in table.splitlines()[2:]] == ["latency", "throughput"]

    report = json.loads((tmp_path / "partition.json").read_text())
    assert [device["name"] for device in report["devices"]] == ["idle", "busy"]
    idle, busy = (device["achieved"]["cpu_utilization"] for device in report["devices"])
    assert idle == 0 < busy <= 1
    study = report["models"]["packd:mixer_student"]
    cuts = [split["cut"] for split in study["splits"]]
    assert {0, study["parts"]} <= set(cuts)
    for plan in study["plans"].values():
        assert plan["chosen_cut"] in cuts and plan["regret"] >= 0
    assert study["plans"]["latency"]["chosen_cut"] == study["parts"]  # all on the idle one


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (3, "3 --device given; expected two"),
        (0, "--device=third: expected NAME[,CONDITION=VALUE...] and a --latency_model, or NAME="),
    ],
)
def test_a_mistake_is_told_in_one_line(devices, used, message, tmp_path):
    result = run(*devices[:used], *SMOKE, f"--workdir={tmp_path / 'run'}", "--device=third")
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
