"""Corrections from a few measurements: better than none, than a bias, and than starting anew."""

import json

import numpy as np
import pytest
from made_up_devices import DEVICES, measured

from latency_jax.devices import with_device
from latency_jax.fitting.few_rows import fit_few
from latency_jax.regressors import NotFittedError, Recalibrated, make_regressor, regressor_names
from latency_jax.regressors.recalibrated import METHODS
from latency_jax.regressors.views import Views
from latency_jax.scores import score
from latency_jax.table import joined, make_table

KNOWN = tuple(DEVICES[name] for name in ("slow", "middle", "fast"))
TEST = measured("new", 300, 7, noise=0.0)
FEW = measured("new", 20, 8)


@pytest.fixture(scope="module")
def views():
    train = joined([with_device(measured(d.name, 400, 1), d) for d in KNOWN])
    source = make_regressor("additive_hist_gb", "dense").fit(train, train, 0)
    return Views(source, KNOWN, None, DEVICES["new"])


@pytest.fixture(scope="module")
def fitted(views):
    return {method: Recalibrated.of(views, method).fit(FEW, FEW, 0) for method in METHODS}


def mape(regressor):
    return score(TEST.latency, regressor.predict(TEST)).mape


def test_each_method_does_more_than_the_one_before(fitted):
    errors = {method: mape(regressor) for method, regressor in fitted.items()}
    assert errors["blend"] < 0.05 < errors["bias"] < errors["none"]
    assert errors["blend"] < errors["linear"] < errors["bias"]


def test_it_beats_what_the_same_rows_give_from_scratch(fitted):
    scratch = min(mape(fit_few(n, FEW, 0)) for n in ("roofline", "additive", "linear", "knn"))
    assert mape(fitted["blend"]) < 0.3 * scratch


def test_none_is_the_source_told_the_device(views, fitted):
    told = views.source.predict(with_device(TEST, DEVICES["new"]))
    np.testing.assert_allclose(fitted["none"].predict(TEST), told, rtol=1e-12)
    # What a table says of its device does not matter.
    foreign = with_device(TEST, DEVICES["slow"])
    np.testing.assert_array_equal(fitted["none"].predict(foreign), fitted["none"].predict(TEST))


def test_weights_of_bases_add_up(fitted):
    assert set(fitted["blend"].weights) == {"predicted", "mean", "half", "own"}
    assert sum(fitted["blend"].weights.values()) == pytest.approx(1)
    assert fitted["bias"].weights == {"predicted": 1.0}


@pytest.mark.parametrize("method", METHODS)
def test_files_bring_it_back_bit_for_bit(fitted, method):
    files = fitted[method].to_files()
    again = make_regressor("recalibrated", "dense").restore(files)
    np.testing.assert_array_equal(again.predict(TEST), fitted[method].predict(TEST))
    assert again.to_files() == files
    json.loads(files["recalibrated.json"])


@pytest.mark.parametrize(
    "change", [{"weights": {}}, {"method": "x"}, {"known": [{}]}, {"weights": {"mean": [1]}}]
)
def test_foreign_files_are_refused(fitted, change):
    files = fitted["blend"].to_files()
    record = {**json.loads(files["recalibrated.json"]), **change}
    with pytest.raises(ValueError):
        make_regressor("recalibrated", "dense").restore(
            {**files, "recalibrated.json": json.dumps(record).encode()}
        )


def test_a_recalibrated_one_can_be_recalibrated(fitted):
    views = Views(fitted["blend"], (), DEVICES["new"], DEVICES["slow"])
    few = measured("slow", 12, 3)
    second = Recalibrated.of(views).fit(few, few, 0)
    again = make_regressor("recalibrated", "dense").restore(second.to_files())
    test = measured("slow", 100, 4)
    np.testing.assert_array_equal(again.predict(test), second.predict(test))
    assert score(test.latency, second.predict(test)).mape < 0.25


def test_generic_tables_of_one_device():
    def table(rows, seed, factor):
        x = np.random.default_rng(seed).integers(1, 200, rows)
        return make_table("generic", {"x": x, "y": x % 7}, factor * 1e-4 * (x + 3.0 * (x % 7)))

    source = make_regressor("hist_gb", "generic").fit(table(300, 0, 1), table(60, 1, 1), 0)
    few, test = table(10, 2, 4.2), table(100, 3, 4.2)
    found = Recalibrated.of(Views(source, (), None, None)).fit(few, few, 0)
    assert found.weights == {"predicted": 1.0}
    assert score(test.latency, found.predict(test)).mape < 0.1
    constant = few.take(np.zeros(5, np.int64))  # nothing varies: a bias is all
    again = Recalibrated.of(Views(source, (), None, None)).fit(constant, constant, 0)
    assert score(test.latency, again.predict(test)).mape < 0.2


def test_what_is_missing_is_said(views):
    assert "recalibrated" not in regressor_names("dense")
    with pytest.raises(NotFittedError):
        Recalibrated.of(views).predict(TEST)
    with pytest.raises(ValueError, match="begin with `of`"):
        make_regressor("recalibrated", "dense").fit(FEW, FEW, 0)
    with pytest.raises(ValueError, match="method = 'x': expected one of none, bias"):
        Recalibrated.of(views, "x")
