"""The command that fits the correction of whole models, as people call it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_latency_model import tiny_model

from latency_jax.latency_model import LatencyModel
from latency_jax.whole_model.correction import Correction

ROOT = Path(__file__).parents[1]
SMOKE = ("--models=packd:mixer_student,packd:lstm_student", "--unseen=packd:resnet_student")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.fit_correction", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def latency_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency_model") / "tiny.zip"
    tiny_model(rows=20).save(path)
    return f"--latency_model={path}"


def test_a_correction_is_fitted_to_models_that_are_measured_twice(latency_model, tmp_path):
    result = run(latency_model, *SMOKE, f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "measured.json").read_text())["rows"]
    kept = {row["factory"]: row["latency_s"] for row in measured}
    report = json.loads((tmp_path / "whole_models.json").read_text())
    rows = report["rows"]
    assert {f"experiments.models.{row['name']}": row["is_fitted"] for row in rows} == {
        "experiments.models.packd:mixer_student": True,
        "experiments.models.packd:lstm_student": True,
        "experiments.models.packd:resnet_student": False,
    }
    for row in rows:
        once, again = kept[f"experiments.models.{row['name']}"]
        assert row["measured_s"] == pytest.approx((once * again) ** 0.5)
        assert row["again"] == pytest.approx(again / once - 1)
    table = (tmp_path / "whole_models.md").read_text()
    assert result.stdout == table and "none fitted" in table
    model = LatencyModel.load(tmp_path / "latency_model.zip")
    assert Correction.from_json(model.correction) == Correction.from_json(report["correction"])


def test_a_model_cannot_be_fitted_to_and_unseen(latency_model, tmp_path):
    result = run(latency_model, *SMOKE, "--unseen=packd:lstm_student", f"--workdir={tmp_path}")
    assert result.returncode != 0 and "expected two or more and any other" in result.stderr
    assert not list(tmp_path.iterdir())
