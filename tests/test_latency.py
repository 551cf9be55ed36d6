"""The command that goes from nothing to a first prediction, at smoke size."""

import json
import os
import subprocess
import sys
from pathlib import Path

from latency_jax.latency_model import LatencyModel

ROOT = Path(__file__).parents[1]
MODEL = """
import flax.linen as nn

def factory():
    return nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(4)])
"""


def test_from_nothing_to_a_prediction(tmp_path):
    (tmp_path / "own_models.py").write_text(MODEL)
    run = subprocess.run(
        [sys.executable, "-m", "experiments.latency", "--model=own_models:factory"]
        + ["--input=8,16:float32", f"--workdir={tmp_path / 'run'}", "--minutes=0.15"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    calls = [line.split()[1] for line in run.stdout.splitlines()[1:3]]
    assert calls == ["dense", "dense"] and "layers_0+relu" in run.stdout
    assert "measured" in run.stdout and "naive sum" in run.stdout
    assert LatencyModel.load(tmp_path / "run" / "latency_model.zip").kinds == ("dense",)
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert {row["regressor"] for row in rows} >= {"linear", "roofline", "residual_hist_gb"}
    assert "could not be measured" not in run.stderr
