"""The command that predicts, as people call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_latency_model import tiny_model

ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, "-m", "experiments.predict_latency", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def latency_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency_model") / "tiny.zip"
    tiny_model(only=("dense", "concat", "embedding", "global_pool"), rows=20).save(path)
    return path


STUDENT = "--model=experiments.models.packd:lstm_student"
INPUTS = ("--input=1,10:uint8", "--input=1,10:uint8", "--input=1:uint8")


def test_prediction_and_measurement_as_strict_json(latency_model):
    out = latency_model.parent / "new" / "prediction.json"
    asked = (f"--latency_model={latency_model}", STUDENT, *INPUTS, f"--out={out}")
    result = run(*asked, "--measure", "--json")
    assert result.returncode == 0, result.stderr

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    report = json.loads(result.stdout, parse_constant=refuse)
    assert json.loads(out.read_text()) == report
    assert "was measured in environment tiny, and this is" in result.stderr
    assert report["inputs"] == ["1,10:uint8", "1,10:uint8", "1:uint8"]
    assert 0 < report["measured_s"] < 1 and report["measured_on"] != report["fitted_on"] == "tiny"
    assert report["error"] == pytest.approx(report["latency_s"] / report["measured_s"] - 1)
    assert report["latency_s"] == pytest.approx(sum(c["latency_s"] for c in report["calls"]))
    assert {c["kind"] for c in report["calls"]} == {"dense", "concat", "embedding"}
    assert [c["runs"] for c in report["calls"] if c["runs"] > 1] == [9]  # the recurrence
    assert all(f"warning: {text}\n" in result.stderr for text in report["warnings"])


def test_a_table_for_people(latency_model):
    out = latency_model.parent / "prediction.json"
    result = run(f"--latency_model={latency_model}", STUDENT, *INPUTS, f"--out={out}")
    assert result.returncode == 0, result.stderr
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["call", "kind", "runs", "ms", "90", "%", "interval"]
    calls = lines[: lines.index("")]
    assert any(line.startswith("network/output ") and " dense " in line for line in calls)
    assert lines[lines.index("") + 1].startswith("predicted ")
    assert "naive sum" in result.stdout and "measured" not in result.stdout


def test_a_mistake_is_told_in_one_line(latency_model):
    result = run(f"--latency_model={latency_model}", STUDENT, "--input=1", "--latency_model=no.zip")
    assert result.returncode == 2 and result.stdout == ""
    assert "no.zip: no such file" in result.stderr and result.stderr.count("\n") == 1
