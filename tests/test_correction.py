"""What whole models take beside their modules."""

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import strategies as st

from latency_jax.intervals import Interval
from latency_jax.whole_model.correction import Correction, fit_correction
from packd_jax.json_files import plain_json

TRUE = np.array([1.1, 2e-10, 5e-11, 1e-6])


def made_up_models(count, seed=0):
    """Terms of models from tiny to large, in the proportions that networks have."""
    rng = np.random.default_rng(seed)
    seconds = 10 ** rng.uniform(-4, -1, count)
    return np.column_stack(
        [
            seconds,
            seconds * rng.uniform(0, 1e9, count),
            seconds * rng.uniform(0, 2e9, count),
            rng.integers(10, 200, count),
        ]
    )


def test_it_finds_what_made_the_latencies():
    terms = made_up_models(40)
    fit = fit_correction([f"m{i}" for i in range(40)], terms, terms @ TRUE)
    np.testing.assert_allclose(fit.correction.coefficients, TRUE, rtol=0.1)
    np.testing.assert_allclose(fit.left_out_s, terms @ TRUE, rtol=0.02)


def test_of_few_models_it_learns_little_and_stays_near_the_sum():
    terms = np.array([[1e-3, 0, 0, 10], [2e-3, 0, 0, 20]])
    fit = fit_correction(["a", "b"], terms, terms[:, 0])
    np.testing.assert_allclose(fit.correction.coefficients[0], 1, rtol=0.01)
    assert fit.correction.interval.reach is None  # two models promise nothing


def test_a_model_that_is_left_out_is_left_out_with_all_its_runs():
    """What is said of it is what a fit to the others alone says."""
    terms = made_up_models(12)
    names = [f"m{i // 2}" for i in range(12)]
    measured = terms @ TRUE
    measured[:2] *= 3  # both runs of m0 are far off
    fit = fit_correction(names, terms, measured)
    others = fit_correction(names[2:], terms[2:], measured[2:]).correction
    np.testing.assert_allclose(fit.left_out_s[:2], others.apply(terms[:2]), rtol=1e-9)
    np.testing.assert_allclose(fit.left_out_s[:2] * 3, measured[:2], rtol=0.2)


@hypothesis.settings(deadline=None)
@hypothesis.given(hnp.arrays(np.float64, (9, 4), elements=st.floats(1e-6, 1e6)))
def test_no_coefficient_is_below_zero_and_single_calls_add_up_to_the_whole(terms):
    fit = fit_correction([str(i) for i in range(9)], terms, terms.sum(axis=1))
    assert min(fit.correction.coefficients) >= 0
    total = fit.correction.apply(terms.sum(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(fit.correction.apply(terms).sum(), total, rtol=1e-9)


def test_it_travels_as_json():
    terms = made_up_models(20)
    correction = fit_correction([str(i) for i in range(20)], terms, terms @ TRUE).correction
    assert Correction.from_json(plain_json(correction.to_json())) == correction


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"coefficients": {}, "interval": Interval(0.9, 0.1).to_json()},
        {"coefficients": 3, "interval": Interval(0.9, 0.1).to_json()},
        {**Correction((1, 0, 0, -1), Interval(0.9, 0.1)).to_json()},
        {**Correction((float("nan"), 0, 0, 1), Interval(0.9, 0.1)).to_json()},
        {**Correction((0, 0, 0, 0), Interval(0.9, 0.1)).to_json()},
        {**Correction((1, 0, 0, 0), Interval(0.9, 0.1)).to_json(), "interval": {}},
    ],
)
def test_foreign_json_is_refused(values):
    with pytest.raises(ValueError, match=r"not a whole-model correction|coefficients|interval"):
        Correction.from_json(values)


def test_shapes_and_models_that_cannot_be_fitted_are_refused():
    with pytest.raises(ValueError, match=r"2 names, terms \(3, 4\)"):
        fit_correction(["a", "b"], np.ones((3, 4)), np.ones(2))
    with pytest.raises(ValueError, match="at least two"):
        fit_correction(["a", "a"], np.ones((2, 4)), np.ones(2))
