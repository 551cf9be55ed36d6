"""What transfers between devices: seconds at peak, and features that only these make."""

import numpy as np
import pytest
from made_up_devices import DEVICES, measured

from latency_jax.device_features import NAMES
from latency_jax.devices import with_device
from latency_jax.features import FeatureEncoder
from latency_jax.medn import MednConfig
from latency_jax.regressors import MednRegressor, make_regressor
from latency_jax.regressors.medn import MednRecipe
from latency_jax.table import TableError, joined, make_table

TABLE = measured("slow", 50, 0)


def test_features_by_hand():
    columns = {"batch_size": [1, 128], "in_features": [10, 1000], "out_features": [20, 256]}
    table = with_device(make_table("dense", columns, np.ones(2)), DEVICES["slow"])
    encoder = FeatureEncoder.fit(table)
    features = dict(zip(encoder.names, encoder.transform(table).T))
    cost = table.amounts
    moved = cost[1:4].sum(axis=0)
    np.testing.assert_allclose(features["log(s of FLOPs)"], np.log(cost[0] / 2e12), rtol=1e-3)
    np.testing.assert_allclose(features["log(s of bytes)"], np.log(moved / 1e11), rtol=1e-3)
    np.testing.assert_allclose(features["log(bytes / cache)"], np.log(moved / 2e6), atol=1e-2)
    # 2 tiles of 128 * 128 outputs for 10 cores
    np.testing.assert_allclose(features["log(output tiles / cores)"][1], np.log(0.2))
    np.testing.assert_allclose(features["filled tiles"][1], 0.2)


def test_a_device_of_twice_the_rates_has_half_the_seconds():
    device = DEVICES["slow"]
    faster = device._replace(flops_per_s=2 * device.flops_per_s, bytes_per_s=2 * device.bytes_per_s)
    costs = [with_device(TABLE, each).costs(True) for each in (device, faster)]
    np.testing.assert_allclose(costs[0][:5], 2 * costs[1][:5])
    np.testing.assert_array_equal(TABLE.costs(False), TABLE.amounts)
    with pytest.raises(TableError, match=r"no column tells the device.*for_device"):
        TABLE.costs(True)


def test_single_rows_and_files_give_the_same_features():
    rows = [with_device(measured(name, 20, 0), DEVICES[name]) for name in ("slow", "fast")]
    table = joined(rows)
    encoder = FeatureEncoder.fit(table, "log", standardized=True)
    assert set(NAMES) <= set(encoder.names) and "device = slow" not in encoder.names
    whole = encoder.transform(table)
    one = encoder.transform(table.take(slice(3, 4)))
    np.testing.assert_allclose(one, whole[3:4], rtol=1e-12)
    again = FeatureEncoder.from_json(encoder.to_json())
    np.testing.assert_array_equal(again.transform(table), whole)
    assert encoder.sizes == len(encoder.names)


@pytest.mark.parametrize("name", ["roofline", "additive", "additive_hist_gb"])
def test_rates_are_shares_of_peaks_and_come_back_from_files(name):
    train = joined([with_device(measured(d, 150, 1), DEVICES[d]) for d in ("slow", "fast")])
    fitted = make_regressor(name, "dense").fit(train, train, 0)
    again = make_regressor(name, "dense").restore(fitted.to_files())
    unseen = with_device(measured("middle", 200, 2), DEVICES["middle"])
    np.testing.assert_array_equal(again.predict(unseen), fitted.predict(unseen))
    error = np.abs(np.log(fitted.predict(unseen) / unseen.latency))
    assert np.median(error) < 0.3  # of latencies from 8 µs to 5 ms
    with pytest.raises(TableError, match="device"):
        again.predict(measured("middle", 5, 2))


def test_networks_learn_factors_to_shares_of_peaks():
    recipe = MednRecipe(MednConfig(width=16, frequencies=2, embedding=2, steps=200, batch_size=64))
    train = joined([with_device(measured(d, 150, 1), DEVICES[d]) for d in ("slow", "fast")])
    fitted = MednRegressor("medn", "dense", recipe).fit(train, train, 0)
    assert fitted._base.at_peak
    again = make_regressor("medn", "dense").restore(fitted.to_files())
    known = with_device(measured("fast", 100, 2), DEVICES["fast"])
    np.testing.assert_allclose(again.predict(known), fitted.predict(known), rtol=1e-6)
    error = np.abs(np.log(fitted.predict(known) / known.latency))
    assert np.median(error) < 0.3
