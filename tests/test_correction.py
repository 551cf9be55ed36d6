"""What whole models take beside their modules."""

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import strategies as st

from latency_jax.intervals import Interval
from latency_jax.whole_model.correction import CACHES, Correction, fit_correction
from packd_jax.json_files import plain_json

TRUE = Correction((1.1, 2e-11, 8e-11, 1e-6), 2.0**21, Interval(0.9, 0.1))


def made_up_models(count, seed=0):
    """The calls of models from tiny to large, in the proportions that networks have."""
    rng = np.random.default_rng(seed)
    models = []
    for scale in 10 ** rng.uniform(-6, -3, count):
        seconds = scale * 10 ** rng.uniform(-1, 1, rng.integers(10, 60))
        shares = rng.uniform(0, [1, 2e9, 9e9, 0], (len(seconds), 4))
        models.append(seconds[:, None] * shares + [0, 0, 0, 1])
        models[-1][:, 0] = seconds
    return models


def latency(models):
    return np.array([TRUE.apply(terms).sum() for terms in models])


def names(count):
    return [f"m{i}" for i in range(count)]


def test_weights_count_up_to_the_cache():
    terms = np.array([[1e-3, 0, 2.0**20, 1], [1e-3, 0, 2.0**23, 1]])
    expected = [1.1e-3 + 8e-11 * 2**20 + 1e-6, 1.1e-3 + 8e-11 * 2**21 + 1e-6]
    np.testing.assert_allclose(TRUE.apply(terms), expected)


def test_it_finds_what_made_the_latencies():
    models = made_up_models(40)
    fit = fit_correction(names(40), models, latency(models))
    assert fit.correction.cache_bytes == TRUE.cache_bytes
    found, true = fit.correction.coefficients, TRUE.coefficients
    np.testing.assert_allclose(np.delete(found, 1), np.delete(true, 1), rtol=0.15)
    np.testing.assert_allclose(fit.left_out_s, latency(models), rtol=0.05)


def test_of_few_models_it_learns_little_and_stays_near_the_sum():
    models = [np.array([[1e-3, 0, 0, 10.0]]), np.array([[2e-3, 0, 0, 20.0]])]
    fit = fit_correction(["a", "b"], models, np.array([1e-3, 2e-3]))
    np.testing.assert_allclose(fit.correction.coefficients[0], 1, rtol=0.01)
    assert fit.correction.interval.reach is None  # two models promise nothing


def test_one_model_beyond_all_sums_does_not_drag_the_others():
    models = made_up_models(30, seed=1)
    measured = latency(models)
    measured[0] *= 20
    fit = fit_correction(names(30), models, measured)
    np.testing.assert_allclose(fit.left_out_s[1:], measured[1:], rtol=0.1)


def test_a_model_that_is_left_out_is_left_out_with_all_its_runs():
    """What is said of it is what a fit to the others alone says."""
    models = made_up_models(12)
    runs = [f"m{i // 2}" for i in range(12)]
    measured = latency(models)
    measured[:2] *= 3  # both runs of m0 are far off
    fit = fit_correction(runs, models, measured)
    others = fit_correction(runs[2:], models[2:], measured[2:]).correction
    expected = [others.apply(terms).sum() for terms in models[:2]]
    np.testing.assert_allclose(fit.left_out_s[:2], expected, rtol=1e-9)
    np.testing.assert_allclose(fit.left_out_s[:2] * 3, measured[:2], rtol=0.2)


@hypothesis.settings(deadline=None, max_examples=10)
@hypothesis.given(hnp.arrays(np.float64, (9, 4), elements=st.floats(1e-6, 1e6)))
def test_coefficients_are_numbers_above_zero_for_any_calls(terms):
    fit = fit_correction(names(9), list(terms[:, None]), terms.sum(axis=1))
    assert min(fit.correction.coefficients) > 0 and np.isfinite(fit.left_out_s).all()
    assert fit.correction.cache_bytes in CACHES


def test_it_travels_as_json():
    models = made_up_models(20)
    correction = fit_correction(names(20), models, latency(models)).correction
    assert Correction.from_json(plain_json(correction.to_json())) == correction


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"coefficients": {}, "interval": Interval(0.9, 0.1).to_json()},
        {"coefficients": 3, "interval": Interval(0.9, 0.1).to_json()},
        {**Correction((1, 0, 0, -1), 1.0, Interval(0.9, 0.1)).to_json()},
        {**Correction((float("nan"), 0, 0, 1), 1.0, Interval(0.9, 0.1)).to_json()},
        {**Correction((0, 0, 0, 0), 1.0, Interval(0.9, 0.1)).to_json()},
        {**Correction((1, 0, 0, 0), 0.0, Interval(0.9, 0.1)).to_json()},
        {**Correction((1, 0, 0, 0), 1.0, Interval(0.9, 0.1)).to_json(), "interval": {}},
    ],
)
def test_foreign_json_is_refused(values):
    with pytest.raises(
        ValueError, match=r"not a whole-model correction|coefficients|cache|interval"
    ):
        Correction.from_json(values)


def test_shapes_and_models_that_cannot_be_fitted_are_refused():
    with pytest.raises(ValueError, match=r"2 names, calls of 3 runs"):
        fit_correction(["a", "b"], [np.ones((1, 4))] * 3, np.ones(2))
    with pytest.raises(ValueError, match=r"terms \[\(3,\)\]"):
        fit_correction(["a", "b"], [np.ones((1, 3))] * 2, np.ones(2))
    with pytest.raises(ValueError, match="at least two"):
        fit_correction(["a", "a"], [np.ones((1, 4))] * 2, np.ones(2))
