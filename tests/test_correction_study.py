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
from latency_jax.whole_model.measured_model import WholeModel, measure_once
from latency_jax.whole_model.named_model import make_model
from latency_jax.whole_model.predict import model_terms
from packd_jax.config import ConfigError

NAMES = ("packd:lstm_student", "packd:mixer_student", "packd:resnet_student", "lstm:lstm_medium")
MODELS = [
    WholeModel(f"experiments.models.{name}", ZOO[name], size) for name in NAMES for size in (1, 3)
]
QUICK = MeasureConfig(windows=1, max_windows=1, window_s=0.001)


def test_batch_sizes_are_the_first_length_of_each_input():
    shapes = MODELS[1].shapes()
    assert [x.shape for x in shapes] == [(3, 10), (3, 10), (3,)]
    assert {x.dtype.name for x in shapes} == {"uint8"}


def test_machines_that_only_differ_from_the_sum_by_terms_are_predicted():
    """A made-up machine takes 1.3 times the sum and 2 µs a call: three models tell of a fourth."""
    model = tiny_model(rows=20)
    terms = {m: model_terms(model, capture(make_model(m.factory), m.shapes())) for m in MODELS}
    measured = {m: float((terms[m] @ [1.3, 0, 0, 2e-6]).sum()) for m in MODELS}
    fit, rows = correction_study(model, measured)
    np.testing.assert_allclose(fit.correction.coefficients[0], 1.3, rtol=0.1)
    assert [(r.name, r.batch_size) for r in rows] == [(n, b) for n in NAMES for b in (1, 3)]
    for row in rows:
        assert row.predicted_s == pytest.approx(row.measured_s, rel=0.15)
        assert row.fused_s < row.measured_s and 0 <= row.in_domain <= 1
    assert median_errors(rows)["predicted"] < median_errors(rows)["fused"]
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows) + 1
    assert f"{100 * errors(rows[0])['predicted']:+.1f} %" in lines[2]


def test_what_was_measured_is_not_measured_again(tmp_path):
    path = tmp_path / "measured.json"
    first = measure_once(MODELS[:1], path, "here", QUICK)
    both = measure_once(MODELS[:2], path, "here", QUICK)
    assert both[MODELS[0]] == first[MODELS[0]] and 0 < both[MODELS[1]] < 1
    assert measure_once(MODELS[1:2], path, "here", QUICK) == {MODELS[1]: both[MODELS[1]]}
    with pytest.raises(ConfigError, match="measured in environment here, this is elsewhere"):
        measure_once(MODELS[:1], path, "elsewhere", QUICK)
    for damaged in ("", "[]", json.dumps({"rows": [{}], "environment": "here"})):
        path.write_text(damaged)
        with pytest.raises(ConfigError, match=r"measured\.json: not measured latencies"):
            measure_once(MODELS[:1], path, "here", QUICK)
