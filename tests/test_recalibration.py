"""LatencyModels for new devices: from several devices, from one, and through files."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_devices import DEVICES, measured

from latency_jax.devices import with_device
from latency_jax.latency_model import LatencyModel, kind_model
from latency_jax.parameters import ParameterError
from latency_jax.recalibration import cross_validated, describe, recalibrate, views_of
from latency_jax.regressors import make_regressor
from latency_jax.scores import score
from latency_jax.table import TableError, joined, make_table

KNOWN = {name: DEVICES[name] for name in ("slow", "middle", "fast")}
TEST = measured("new", 300, 7)
FEW = {"dense": measured("new", 20, 8)}
CORRECTION = {"overhead": 1e-6}


def fitted(train, validation, name="residual_hist_gb"):
    regressor = make_regressor(name, train.kind).fit(train, validation, 0)
    return kind_model(regressor, train, validation)


@pytest.fixture(scope="module")
def several():
    parts = [
        joined([with_device(measured(d.name, rows, seed), d) for d in KNOWN.values()])
        for rows, seed in ((300, 1), (60, 2))
    ]
    # The same columns mean nothing as another kind: one that will not be measured.
    other = [make_table("generic", t.columns, t.latency) for t in parts]
    models = {"dense": fitted(*parts), "generic": fitted(*other, "linear")}
    return LatencyModel(models, {}, CORRECTION, {"scores": 1}, KNOWN)


@pytest.fixture(scope="module")
def single():
    models = {"dense": fitted(measured("fast", 300, 1), measured("fast", 60, 2))}
    models["generic"] = fitted(
        *[make_table("generic", {"x": np.arange(1, 30)}, np.ones(29))] * 2, "linear"
    )
    return LatencyModel(models, {"id": "old"}, CORRECTION, {}, device=DEVICES["fast"])


def test_of_several_devices(several, tmp_path):
    found = recalibrate(several, FEW, DEVICES["new"], {"id": "new one"}, about={"data": "x"})
    model = found.model
    model.save(tmp_path / "new.zip")
    again = LatencyModel.load(tmp_path / "new.zip")
    for each in (model, again):
        says = each.predict("dense", TEST.columns)
        assert score(TEST.latency, says.latency).mape < 0.06 < found.before["dense"].mape
        assert ((says.low <= TEST.latency) & (TEST.latency <= says.high)).mean() > 0.75
        assert says.in_domain.mean() > 0.9
        assert each.environment == {"id": "new one"} and each.correction is None
        assert each.about == {"recalibrated": {"data": "x"}, "source": {"scores": 1}}
        assert each.device == DEVICES["new"]
    # What was not measured is predicted from the descriptor, and flagged.
    assert again.kinds == ("dense", "generic") and found.lost == ()
    assert not again.predict("generic", TEST.columns).in_domain.any()
    assert "dense: 20 measurements; MAPE" in describe(found, {"dense": 20})
    assert again.columns("dense") == ("batch_size", "in_features", "out_features")


@pytest.mark.parametrize("device", [None, DEVICES["new"]])
def test_of_one_device(single, device):
    found = recalibrate(single, FEW, device)
    says = found.model.predict("dense", TEST.columns)
    assert score(TEST.latency, says.latency).mape < 0.1 < found.before["dense"].mape
    assert found.model.kinds == ("dense",) and found.lost == ("generic",)
    text = describe(found, {"dense": 19})
    assert "fewer than 20" in text and "left out: generic" in text
    assert found.model.device == device and found.model.devices == {}


def test_what_it_says_of_itself_is_of_rows_left_out(single):
    views = views_of(single, single.models["dense"], None)
    rows = FEW["dense"]
    left_out = cross_validated(views, "bias", rows, 0)
    off = replace(rows, latency=np.where(np.arange(20) == 3, 9.0, rows.latency))
    changed = cross_validated(views, "bias", off, 0)
    part = np.random.default_rng(0).permutation(20) % 10
    same = part == part[3]
    np.testing.assert_array_equal(changed[same], left_out[same])  # not told of its own row
    assert (changed[~same] != left_out[~same]).all()
    found = recalibrate(single, FEW, method="bias")
    assert found.after["dense"] == score(rows.latency, left_out)


def test_few_measurements_give_no_finite_interval(single):
    found = recalibrate(single, {"dense": measured("new", 8, 8)})
    assert np.isinf(found.model.predict("dense", TEST.columns).high).all()
    assert "90 % interval none" in describe(found, {"dense": 8})


def test_mistakes(single):
    with pytest.raises(TableError, match="dense: 2 measurements; expected 3 or more"):
        recalibrate(single, {"dense": measured("new", 2, 8)})
    with pytest.raises(ParameterError, match="conv2d"):
        recalibrate(single, {"conv2d": FEW["dense"]})
    with pytest.raises(ValueError, match="method = 'x'"):
        recalibrate(single, FEW, method="x")
