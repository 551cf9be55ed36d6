"""Whole models predicted with what was fitted to the others."""

import json

import numpy as np
import pytest
from tiny_latency_model import tiny_model

from experiments.models.zoo import ZOO
from latency_jax.measuring.timing import MeasureConfig
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.correction_study import (
    as_markdown,
    correction_study,
    errors,
    median_errors,
)
from latency_jax.whole_model.measured_model import WholeModel, measure_twice
from latency_jax.whole_model.named_model import make_model
from latency_jax.whole_model.predict import model_terms
from packd_jax.config import ConfigError

NAMES = ("packd:lstm_student", "packd:mixer_student", "packd:resnet_student", "lstm:lstm_medium")
MODELS = [
    WholeModel(f"experiments.models.{name}", ZOO[name], size) for name in NAMES for size in (1, 3)
]
QUICK = MeasureConfig(windows=1, max_windows=1, window_s=0.001)


def twice(seconds):
    """Two measurements around it."""
    return float(seconds) / 1.1, float(seconds) * 1.1


def test_batch_sizes_are_the_first_length_of_each_input():
    shapes = MODELS[1].shapes()
    assert [x.shape for x in shapes] == [(3, 10), (3, 10), (3,)]
    assert {x.dtype.name for x in shapes} == {"uint8"}


@pytest.fixture(scope="module")
def machine():
    """A latency model, and what a made-up machine takes: 1.3 times the sum and 2 µs a call."""
    model = tiny_model(rows=20)
    terms = {m: model_terms(model, capture(make_model(m.factory), m.shapes())) for m in MODELS}
    return model, {m: twice((terms[m] @ [1.3, 0, 0, 2e-6]).sum()) for m in MODELS}


def test_machines_that_only_differ_from_the_sum_by_terms_are_predicted(machine):
    model, measured = machine  # three models tell of a fourth
    fit, rows = correction_study(model, measured)
    np.testing.assert_allclose(fit.correction.coefficients[0], 1.3, rtol=0.1)
    assert [(r.name, r.batch_size) for r in rows] == [(n, b) for n in NAMES for b in (1, 3)]
    for row in rows:
        assert row.predicted_s == pytest.approx(row.measured_s, rel=0.15)
        assert row.fused_s < row.measured_s and 0 <= row.in_domain <= 1
        assert row.again == pytest.approx(0.21)
    assert median_errors(rows)["predicted"] < median_errors(rows)["fused"]
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows) + 1
    assert f"{100 * errors(rows[0])['predicted']:+.1f} %" in lines[2]


def test_unseen_models_are_predicted_and_not_fitted_to(machine):
    model, measured = machine
    measured, unseen = dict(measured), MODELS[-1].factory
    without = {m: s for m, s in measured.items() if m.factory != unseen}
    expected, others = correction_study(model, without)
    measured[MODELS[-1]] = tuple(9 * s for s in measured[MODELS[-1]])  # would move the fit
    fit, rows = correction_study(model, measured, {unseen})
    assert fit.correction == expected.correction and rows[:-2] == others
    assert [row.is_fitted for row in rows] == [True] * 6 + [False] * 2
    assert rows[-1].predicted_s == pytest.approx(rows[-1].measured_s / 9, rel=0.2)
    table = as_markdown(rows).splitlines()
    assert "others fitted" in table[-2] and "none fitted" in table[-1]


def test_what_was_measured_is_not_measured_again(tmp_path):
    path = tmp_path / "measured.json"
    first = measure_twice(MODELS[:1], path, "here", QUICK)
    both = measure_twice(MODELS[:2], path, "here", QUICK)
    assert both[MODELS[0]] == first[MODELS[0]] and len(both[MODELS[1]]) == 2
    assert all(0 < seconds < 1 for seconds in both[MODELS[1]])
    torn = json.loads(path.read_text())
    torn["rows"][1]["latency_s"].pop()  # as a kill between the two leaves it
    path.write_text(json.dumps(torn))
    again = measure_twice(MODELS[:2], path, "here", QUICK)
    assert again[MODELS[0]] == both[MODELS[0]]
    assert again[MODELS[1]][0] == both[MODELS[1]][0] and again[MODELS[1]][1] > 0
    both = again
    assert measure_twice(MODELS[1:2], path, "here", QUICK) == {MODELS[1]: both[MODELS[1]]}
    with pytest.raises(ConfigError, match="measured in environment here, this is elsewhere"):
        measure_twice(MODELS[:1], path, "elsewhere", QUICK)
    for damaged in ("", "[]", json.dumps({"rows": [{}], "environment": "here"})):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match=r"measured\.json: not measured latencies"):
            measure_twice(MODELS[:1], path, "here", QUICK)
