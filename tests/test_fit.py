"""What a fit leaves behind."""

import json

import numpy as np

from latency_jax.fitting.fit import fit
from latency_jax.fitting.study import FitConfig
from latency_jax.latency_model import LatencyModel
from latency_jax.selection import Goal
from latency_jax.table import make_table


def test_all_files_of_a_fit_say_the_same(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"in_features": rng.integers(8, 600, 120), "out_features": rng.integers(8, 600, 120)}
    seconds = 1e-6 + 1e-9 * columns["in_features"] * columns["out_features"]
    table = make_table("dense", columns, seconds)
    config = FitConfig(("linear", "hist_gb", "roofline"), goal=Goal("space"))
    reported = []
    found = fit(
        {"dense": table},
        config,
        tmp_path / "out",
        {"data": "drawn", "repeatability": None},
        "python -m something",
        on_fit=lambda seed, fits: reported.extend((seed, f.candidate.name) for f in fits),
    )
    assert reported == [(42, name) for name in config.regressors]
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["rows"] == json.loads(json.dumps(found["rows"])) and len(stored["rows"]) == 3
    assert stored["command"] == "python -m something" and stored["data"] == "drawn"
    model = LatencyModel.load(tmp_path / "out" / "latency_model.zip")
    space = next(row for row in found["selection"] if row["set"] == "space")
    assert model.models["dense"].regressor.name == space["kinds"]["dense"]["regressor"]
    assert model.about["data"] == "drawn"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "roofline" in page and (tmp_path / "out" / "front.svg").read_text().startswith("<?xml")
