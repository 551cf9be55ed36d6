"""What a model of some devices says of another, before corrections."""

import numpy as np
import pytest
from made_up_devices import DEVICES, measured

from latency_jax.devices import with_device, without_device
from latency_jax.regressors import make_regressor
from latency_jax.regressors.views import Views
from latency_jax.table import joined, make_table

KNOWN = tuple(DEVICES[name] for name in ("slow", "middle", "fast"))
TEST = measured("new", 100, 7, noise=0.0)
FEW = measured("new", 20, 8)
ASKED = measured("new", 300, 9)


@pytest.fixture(scope="module")
def several():
    train = joined([with_device(measured(d.name, 300, 1), d) for d in KNOWN])
    return make_regressor("additive_hist_gb", "dense").fit(train, train, 0)


@pytest.fixture(scope="module")
def single():
    train = measured("fast", 300, 1)
    return make_regressor("residual_hist_gb", "dense").fit(train, train, 0)


def test_views_are_those_of_known_devices(several):
    views = Views(several, KNOWN, None, DEVICES["new"])
    says = views.of(TEST)
    assert says.shape == (3, TEST.rows) and views.is_told
    for view, device in zip(says, KNOWN):
        np.testing.assert_array_equal(view, np.log(several.predict(with_device(TEST, device))))
        exact = measured(device.name, 100, 7, noise=0.0).latency
        assert np.median(np.abs(view - np.log(exact))) < 0.1
    told = np.log(several.predict(with_device(TEST, DEVICES["new"])))
    np.testing.assert_array_equal(views.predicted(TEST, says), told)
    untold = Views(several, KNOWN, None, None)
    np.testing.assert_array_equal(untold.predicted(TEST, says), says.mean(axis=0))
    bases = views.bases(TEST, says, ())
    np.testing.assert_allclose(bases["half"], (bases["predicted"] + bases["mean"]) / 2)
    assert list(bases) == ["predicted", "mean", "half"]


def test_one_device_is_scaled_as_data_sheets_say(single):
    old, new = DEVICES["fast"], DEVICES["new"]
    views = Views(single, (), old, new)
    says = views.of(TEST)
    assert says.shape == (1, TEST.rows)
    ratio = np.exp(views.predicted(TEST, says) - says[0])
    assert ratio.max() == pytest.approx(old.bytes_per_s / new.bytes_per_s)
    assert ratio.min() == pytest.approx(1.0)  # less than a microsecond on both
    for former, device in ((None, new), (old, None)):
        untold = Views(single, (), former, device)
        assert not untold.is_told
        np.testing.assert_array_equal(untold.predicted(TEST, says), says[0])


@pytest.mark.parametrize("known", [True, False])
def test_the_new_device_has_a_roofline_of_its_own(several, single, known):
    views = Views(several, KNOWN, None, DEVICES["new"]) if known else Views(single, (), None, None)
    rooflines = views.rooflines(ASKED, FEW)
    assert len(rooflines) == (4 if known else 2)
    assert [r.at_peak for r in rooflines] == [known] * len(rooflines)
    own = views.bases(TEST, views.of(TEST), rooflines)["own"]
    error = np.abs(own - np.log(TEST.latency))
    before = np.abs(views.predicted(TEST, views.of(TEST)) - np.log(TEST.latency))
    assert np.median(error) < 0.15 < np.median(before)


def test_generic_kinds_have_no_rooflines_and_no_data_sheets():
    columns = without_device(TEST).columns
    table = make_table("generic", columns, TEST.latency)
    fitted = make_regressor("linear", "generic").fit(table, table, 0)
    views = Views(fitted, (), DEVICES["fast"], DEVICES["new"])
    assert views.rooflines(table, table) == ()
    says = views.of(table)
    assert list(views.bases(table, says, ())) == ["predicted"]
    np.testing.assert_array_equal(views.predicted(table, says), says[0])
