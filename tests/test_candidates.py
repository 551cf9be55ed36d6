"""Regressors that are fitted and judged: which, on which rows, with what cost."""

from functools import partial

import numpy as np
import pytest

from latency_jax.fitting import candidates
from latency_jax.fitting.candidates import BATCH, Fit, candidate, fit_all, prediction_seconds
from latency_jax.medn import MednConfig
from latency_jax.regressors import Blend, Entry, MednRegressor, Regressor, make_regressor, registry
from latency_jax.regressors.medn import MednRecipe
from latency_jax.scores import Scores, score
from latency_jax.selection import file_sizes
from latency_jax.table import make_table, split

SCORES = Scores(0.1, 0.5, 0.9, 0.8, 0.7)


def table(kind, rows=90):
    rng = np.random.default_rng(0)
    columns = {
        "batch_size": 2 ** rng.integers(0, 5, rows),
        "in_features": rng.integers(8, 200, rows),
        "out_features": rng.integers(8, 200, rows),
    }
    return make_table(kind, columns, 1e-6 + 1e-9 * np.prod(list(columns.values()), axis=0))


SPLITS = {kind: split(table(kind), seed=1) for kind in ("dense", "generic")}


def names_of(fits):
    return [(fit.candidate.kind, fit.candidate.name) for fit in fits]


def test_each_name_is_fitted_to_every_kind_that_can_have_it():
    reported: list[list[Fit]] = []
    fits = fit_all(SPLITS, ("roofline", "linear"), 0, reported.append)
    assert names_of(fits) == [("dense", "roofline"), ("dense", "linear"), ("generic", "linear")]
    assert reported == [fits[:1], fits[1:]]
    assert fit_all(SPLITS, (), 0) == []


def test_selection_sees_validation_and_test_rows_stay_apart():
    (fit,) = fit_all({"dense": SPLITS["dense"]}, ("linear",), 0)
    validation, test = SPLITS["dense"].validation, SPLITS["dense"].test
    assert fit.candidate.scores == score(validation.latency, fit.regressor.predict(validation))
    assert fit.test == score(test.latency, fit.regressor.predict(test))
    assert fit.test != fit.candidate.scores
    assert fit.candidate.files == file_sizes(fit.regressor.to_files())
    assert fit.candidate.size_bytes == fit.regressor.size_bytes
    own = make_regressor("linear", "dense").fit(SPLITS["dense"].train, validation, 0)
    np.testing.assert_array_equal(fit.regressor.predict(test), own.predict(test))


class Constant(MednRegressor):
    """Says 1 ms, without parameters: what a network learns is not the matter here."""

    def predict(self, table):
        return np.full(table.rows, 1e-3)

    def to_files(self):
        return {"encoder.npz": b"shared", "own.npz": self.kind.encode()}


def test_networks_are_fitted_to_all_kinds_together_and_told_whom_they_learn_from(monkeypatch):
    calls = []
    monkeypatch.setattr(candidates, "fit_together", lambda *arguments: calls.append(arguments))
    for name, teacher in (("alone", ""), ("student", "alone")):
        recipe = MednRecipe(MednConfig(), teacher)
        entry = Entry(partial(Constant, recipe=recipe))
        monkeypatch.setitem(registry._ENTRIES, name, entry)
    fits = fit_all(SPLITS, ("alone", "student"), 3)
    assert names_of(fits) == [(k, n) for n in ("alone", "student") for k in ("dense", "generic")]
    train, validation, _ = zip(*SPLITS.values())
    alone, student = ([fit.regressor for fit in pair] for pair in (fits[:2], fits[2:]))
    assert calls == [
        (alone, list(train), list(validation), 3, None),
        (student, list(train), list(validation), 3, alone),
    ]
    assert fits[0].fit_seconds == fits[1].fit_seconds > 0  # there is one time for both
    fit_all(SPLITS, ("student",), 3)
    assert calls[2][4] is None  # it has to find its teacher itself


def test_a_blend_is_one_of_all_before_it():
    fits = fit_all(SPLITS, ("linear", "roofline", "knn", "blend", "decision_tree"), 0)
    blends = {fit.candidate.kind: fit.regressor for fit in fits if fit.candidate.name == "blend"}
    for kind, blend in blends.items():
        before = [f.regressor for f in fits if f.candidate.kind == kind][:-2]
        again = Blend("blend", kind).combine(before, SPLITS[kind].validation)
        assert blend.weights == again.weights
    assert blends.keys() == SPLITS.keys()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("dense", "liner", "expected one of linear, .*did you mean 'linear'"),
        ("generic", "roofline", "needs FLOPs and bytes"),
    ],
)
def test_a_name_that_no_kind_can_have(kind, name, message):
    with pytest.raises(ValueError, match=message):
        fit_all({kind: SPLITS[kind]}, ("linear", name), 0)


class Counting(Regressor):
    """Says 1 ms, and remembers how many rows it was asked for."""

    def __init__(self):
        super().__init__("counting", "dense")
        self.asked = []

    def fit(self, train, validation, seed):
        return self

    def predict(self, table):
        self.asked.append(table)
        return np.full(table.rows, 1e-3)

    def to_files(self):
        return {"a.json": b"same", "b.json": b"same", "c.json": b"other"}

    def restore(self, files):
        return self


def test_calls_that_are_timed_are_of_a_thousand_rows_and_of_one():
    regressor = Counting()
    per_row, single = prediction_seconds(regressor, table("dense", rows=3))
    assert {t.rows for t in regressor.asked} == {BATCH, 1}
    assert per_row > 0 and single > 0
    batch = regressor.asked[0].columns["in_features"]
    np.testing.assert_array_equal(batch, np.resize(batch[:3], BATCH))  # rows come around again
    singles = [t.columns["in_features"][0] for t in regressor.asked if t.rows == 1]
    assert singles[1:4] == batch[:3].tolist()


def test_what_a_candidate_weighs():
    found = candidate(Counting(), SCORES, table("dense", rows=5))
    assert found[:3] == ("dense", "counting", SCORES)
    assert sorted(found.files.values()) == [4, 5]  # equal files are one
    assert Fit(Counting(), found, (SCORES, SCORES), SCORES, 1.0).candidate.size_bytes == 9
