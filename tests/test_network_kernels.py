"""The compiled loops by themselves; tests/test_network.py has them against the formulas."""

import math

import numpy as np

from latency_jax.regressors.network_kernels import add_waves, sine_cosine


def test_sines_and_cosines_of_any_angle():
    angles = np.linspace(-300, 300, 20_001).astype(np.float32)
    found = np.array([sine_cosine(angle) for angle in angles])
    exact = [(math.sin(angle), math.cos(angle)) for angle in angles.tolist()]
    np.testing.assert_allclose(found, exact, atol=4e-6)


def test_waves_fill_the_rows_behind_the_inputs_and_nothing_else():
    """Two sizes of three inputs, one wave each: x, sin and cos, mixed into one number."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 70)).astype(np.float32)
    before = inputs.copy()
    mix = np.array([[[1.0, 0.0, 0.0]], [[0.0, 2.0, -1.0]]], np.float32)
    add_waves(inputs, np.array([[1.0], [0.5]], np.float32), mix)
    np.testing.assert_array_equal(inputs[:3], before[:3])
    np.testing.assert_array_equal(inputs[3], np.maximum(before[0], 0))
    expected = 2 * np.sin(before[1] / 2) - np.cos(before[1] / 2)
    np.testing.assert_allclose(inputs[4], np.maximum(expected, 0), atol=1e-5)
