"""A sum of costs: its rates are found again, and files bring it back."""

from dataclasses import replace

import numpy as np
import pytest

from latency_jax.modules import get_kind
from latency_jax.regressors import NotFittedError, make_regressor
from latency_jax.regressors.additive import PARTS
from latency_jax.table import make_table


def table(rows=300, seed=0, noise=0.0):
    """Convolutions of a machine that does one thing after another."""
    rng = np.random.default_rng(seed)
    columns = {
        "batch_size": rng.integers(1, 9, rows),
        "input_size": rng.integers(4, 64, rows),
        "in_channels": rng.integers(1, 256, rows),
        "out_channels": rng.integers(1, 256, rows),
        "kernel_size": rng.choice([1, 3, 5], rows),
    }
    cost = get_kind("conv2d").cost(columns)
    seconds = 5e-6 + cost.flops / 4e10 + cost.weight_bytes / 5e9 + cost.output_bytes / 2e9
    return make_table("conv2d", columns, seconds * np.exp(noise * rng.standard_normal(rows)))


def test_the_rates_of_a_machine_are_found_again():
    fitted = make_regressor("additive", "conv2d").fit(table(), table(60, 1), 0)
    found = dict(zip(PARTS, fitted.seconds))
    assert found["overhead"] == pytest.approx(5e-6, rel=0.05)
    assert found["weight_bytes"] == pytest.approx(1 / 5e9, rel=0.1)
    far = table(60, 2)
    np.testing.assert_allclose(fitted.predict(far), far.latency, rtol=0.05)


def test_load_slows_all_of_it():
    rows = table(400)
    load = np.random.default_rng(5).choice([0, 0.25, 0.5, 1.0], rows.rows)
    columns = {**rows.columns, "cpu_utilization": load}
    slow = make_table("conv2d", columns, rows.latency * (1 + 1.7 * load))
    fitted = make_regressor("additive", "conv2d").fit(slow, slow, 0)
    assert fitted.slowdowns == pytest.approx((1.7, 0.0), rel=0.03)
    np.testing.assert_allclose(fitted.predict(rows), rows.latency, rtol=0.05)
    again = make_regressor("additive", "conv2d").restore(fitted.to_files())
    np.testing.assert_array_equal(again.predict(slow), fitted.predict(slow))


def test_outliers_do_not_drag_it():
    noisy = table(400, 3, noise=0.1)
    seconds = noisy.latency.copy()
    seconds[::20] *= 30
    fitted = make_regressor("additive", "conv2d").fit(replace(noisy, latency=seconds), noisy, 0)
    clean = table(60, 4)
    assert np.median(np.abs(np.log(fitted.predict(clean) / clean.latency))) < 0.06


def test_a_part_that_a_kind_has_not_costs_nothing():
    columns = {"features": np.arange(1, 60), "positions": np.arange(1, 60)}
    seconds = 1e-6 + 1e-9 * columns["features"] * columns["positions"]
    rows = make_table("activation", columns, seconds)
    fitted = make_regressor("additive", "activation").fit(rows, rows, 0)
    assert dict(zip(PARTS, fitted.seconds))["weight_bytes"] == 0
    np.testing.assert_allclose(fitted.predict(rows), seconds, rtol=0.02)


def test_files_bring_it_back_and_foreign_ones_are_refused():
    fitted = make_regressor("additive", "conv2d").fit(table(), table(60, 1), 0)
    again = make_regressor("additive", "conv2d").restore(fitted.to_files())
    np.testing.assert_array_equal(again.predict(table()), fitted.predict(table()))
    text = fitted.to_files()["additive.json"].decode()
    for files in (
        {},
        {"additive.json": b"[]"},
        {"additive.json": text.replace('"flops":', '"flop":').encode()},
        {"additive.json": text.replace('"slowdowns":', '"slowdown":').encode()},
        {"additive.json": text.replace('"flops": ', '"flops": -').encode()},
        {"additive.json": text.replace('"flops": ', '"flops": 1e999, "x": ').encode()},
    ):
        with pytest.raises(ValueError):
            make_regressor("additive", "conv2d").restore(files)
    with pytest.raises(NotFittedError):
        make_regressor("additive", "conv2d").predict(table())
