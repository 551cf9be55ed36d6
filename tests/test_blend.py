"""Blends: whom they trust, what they say, and that files bring them back."""

import json

import numpy as np
import pytest

from latency_jax.features import GENERIC
from latency_jax.regressors import Blend, NotFittedError, make_regressor
from latency_jax.regressors import blend as blend_module
from latency_jax.regressors.blend import _weights
from latency_jax.table import make_table, split


def table(kind="dense", rows=120):
    rng = np.random.default_rng(0)
    columns = {
        "batch_size": rng.integers(1, 64, rows),
        "in_features": rng.integers(8, 512, rows),
        "out_features": rng.integers(8, 512, rows),
    }
    noise = np.exp(0.1 * rng.normal(size=rows))
    return make_table(kind, columns, noise * (1e-6 + 1e-11 * np.prod([*columns.values()], axis=0)))


SPLITS = split(table(), seed=1)


def fitted(*names):
    return [make_regressor(n, "dense").fit(SPLITS.train, SPLITS.validation, 0) for n in names]


def test_opposite_errors_share_the_weight_and_a_right_one_takes_it_all():
    target = np.linspace(-9, -3, 40)
    says = np.stack([target + 0.2, target - 0.2, target + 3])
    assert _weights(says, target) == {0: 0.5, 1: 0.5}
    assert _weights(np.stack([target + 1, target]), target) == {1: 1.0}


def test_a_blend_errs_no_more_on_validation_than_its_best_member():
    members = fitted("linear", "knn", "roofline", "residual_hist_gb")
    blend = Blend("blend", "dense").combine(members, SPLITS.validation)
    measured = np.log(SPLITS.validation.latency)

    def error(regressor):
        return np.abs(np.log(regressor.predict(SPLITS.validation)) - measured).mean()

    assert error(blend) <= min(map(error, members)) + 1e-12
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert set(blend.weights) <= {member.name for member in members}


def test_it_says_the_weighted_geometric_mean():
    members = fitted("linear", "knn")
    blend = Blend("blend", "dense")
    blend._members = [(0.25, members[0]), (0.75, members[1])]
    first, second = (member.predict(SPLITS.test) for member in members)
    np.testing.assert_allclose(blend.predict(SPLITS.test), first**0.25 * second**0.75)


def test_files_bring_it_back():
    blend = Blend("blend", "dense").combine(fitted("linear", "knn", "hist_gb"), SPLITS.validation)
    again = Blend("blend", "dense").restore(blend.to_files())
    assert again.weights == blend.weights
    np.testing.assert_array_equal(again.predict(SPLITS.test), blend.predict(SPLITS.test))


@pytest.mark.parametrize(
    "weights, told",
    [
        ({}, "members"),
        ([], "members"),
        ({"blend": 1.0}, "members"),
        ({"linear": 2.0}, "weight of 'linear'"),
        ({"linear": "all"}, "weight of 'linear'"),
        ({"linera": 1.0}, "did you mean 'linear'"),
    ],
)
def test_foreign_files_are_refused(weights, told):
    with pytest.raises(ValueError, match=told):
        Blend("blend", "dense").restore({"blend.json": json.dumps(weights).encode()})


def test_an_unfitted_one_says_so():
    for action in (Blend("blend", "dense").to_files, lambda: Blend("b", "dense").predict(table())):
        with pytest.raises(NotFittedError):
            action()


def test_by_itself_it_fits_the_members_that_a_kind_can_have(monkeypatch):
    assert "medn_ensemble" in blend_module.MEMBERS and "hist_gb" in blend_module.MEMBERS
    quick = ("linear", "roofline", "hist_gb")  # a roofline needs FLOPs
    monkeypatch.setattr(blend_module, "MEMBERS", quick)
    splits = split(table(GENERIC, 60), seed=0)
    blend = make_regressor("blend", GENERIC).fit(splits.train, splits.validation, 0)
    assert blend.weights and set(blend.weights) <= {"linear", "hist_gb"}


def test_a_mean_blend_trusts_all_alike_and_comes_back_from_files():
    names = ["roofline", "additive"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blend_module, "MEAN_MEMBERS", (*names, "hist_gb"))
        blend = make_regressor("mean_blend", "dense").fit(SPLITS.train, SPLITS.validation, 0)
        assert blend.weights == pytest.approx(dict.fromkeys([*names, "hist_gb"], 1 / 3))
        known = fitted(*names, "linear")
        combined = make_regressor("mean_blend", "dense").combine(known, SPLITS.validation)
        assert combined.weights == dict.fromkeys(names, 0.5)
        alone = make_regressor("mean_blend", GENERIC).fit(table(GENERIC), table(GENERIC), 0)
        assert alone.weights == {"hist_gb": 1.0}  # the only one that needs no FLOPs
    first, second = (member.predict(SPLITS.test) for member in known[:2])
    np.testing.assert_allclose(combined.predict(SPLITS.test), np.sqrt(first * second))
    again = make_regressor("mean_blend", "dense").restore(blend.to_files())
    np.testing.assert_allclose(
        again.predict(SPLITS.test), blend.predict(SPLITS.test), rtol=1e-12
    )  # members of files are in alphabetical order
