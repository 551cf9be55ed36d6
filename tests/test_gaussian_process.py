"""Gaussian processes: what the formula says, and scales that follow the data."""

import numpy as np
import pytest

from latency_jax.regressors.gaussian_process import (
    BIAS,
    LINEAR,
    SMOOTH,
    Prior,
    _covariance,
    fit,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
NEW = RNG.standard_normal((30, 3))


def test_covariances_by_hand():
    scales = np.log([0.5, 0.25, 2.0, 1.5, 0.1])
    a, b = np.array([[1.0, 2.0]]), np.array([[0.0, 2.0], [1.0, 2.0]])
    expected = [0.25 + 4 * 0.0625 + 4 * np.exp(-1 / (2 * 2.25 * 2)), 0.25 + 5 * 0.0625 + 4]
    np.testing.assert_allclose(_covariance(scales, a, b), [expected])


def test_fixed_scales_give_the_textbook_mean():
    prior = Prior(tuple(np.log([0.5, 0.3, 0.4, 1.0, 0.2])), (0.0,) * 5)
    y = X[:, 0]
    found = fit(X, y, prior)
    scales = np.array(prior.centre)
    noisy = _covariance(scales, X, X) + (0.2**2 + 1e-6) * np.eye(40)
    expected = _covariance(scales, NEW, X) @ np.linalg.solve(noisy, y)
    np.testing.assert_allclose(found.predict(NEW), expected, rtol=1e-9)
    np.testing.assert_array_equal(found.scales, scales)


def test_a_constant_error_is_a_bias():
    y = 0.4 + 0.01 * RNG.standard_normal(40)
    for prior in (BIAS, LINEAR, SMOOTH):
        np.testing.assert_allclose(fit(X, y, prior).predict(NEW), 0.4, atol=0.03)


def test_slopes_and_curves_are_learnt_by_those_that_may():
    line, curve = 0.2 * X[:, 0], 0.4 * np.sin(2 * X[:, 1])
    asked = 0.2 * NEW[:, 0]
    assert np.abs(fit(X, line, LINEAR).predict(NEW) - asked).max() < 0.05
    assert np.abs(fit(X, line, BIAS).predict(NEW) - asked).max() > 0.2
    errors = [np.abs(fit(X, curve, p).predict(X) - curve).mean() for p in (LINEAR, SMOOTH)]
    assert errors[1] < 0.5 * errors[0]


def test_noise_of_a_few_rows_is_not_believed():
    few, noise = X[:5], 0.15 * RNG.standard_normal(5)
    assert np.abs(fit(few, noise - noise.mean()).predict(NEW)).max() < 0.12


def test_equal_rows_and_no_columns_are_fine():
    same = np.ones((6, 2))
    np.testing.assert_allclose(fit(same, np.full(6, 0.3)).predict(same[:1]), 0.3, atol=0.03)
    empty = np.empty((6, 0))
    np.testing.assert_allclose(fit(empty, np.full(6, 0.3)).predict(empty[:1]), 0.3, atol=0.03)


@pytest.mark.parametrize("x, y", [(X[0], X[:, 0]), (X, X[:3, 0]), (X[:0], X[:0, 0])])
def test_other_shapes_are_refused(x, y):
    with pytest.raises(ValueError, match=r"expected \[N, F\] and \[N\]"):
        fit(x, y)
