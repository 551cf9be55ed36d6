import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.configs.latency_tables import SOURCES
from latency_jax.artifacts import ArtifactError, from_npz, read_artifact, to_npz, write_artifact
from latency_jax.modules import get_kind
from latency_jax.regressors import (
    Entry,
    NotFittedError,
    load_regressor,
    make_regressor,
    register_regressor,
    regressor_names,
    save_regressor,
)
from latency_jax.regressors.medn import RECIPES
from latency_jax.regressors.trees import LEAF, Nodes, flattened, linked
from latency_jax.scores import score
from latency_jax.table import make_table, split

DATA = Path(__file__).parents[2] / "shared" / "data" / "latency"
TRUTH = {"flop_rate": 5e10, "byte_rate": 8e9, "overhead": 2e-5}
# The largest mean error on 100 rows like the 450 of training, which hold no noise.
EXPECTED = {
    "linear": 0.30,
    "poly2_ridge": 0.06,
    "knn": 0.20,
    "svr": 0.05,
    "decision_tree": 0.25,
    "random_forest": 0.12,
    "hist_gb": 0.10,
    "roofline": 1e-4,
    "residual_ridge": 1e-4,
    "residual_hist_gb": 1e-4,
    "additive": 0.30,
    "additive_hist_gb": 0.10,
    "additive_svr": 0.05,
    "lookup": 0.10,
    "xgboost": 0.10,
    "lightgbm": 0.10,
}
NAMES = tuple(name for name in EXPECTED if name in regressor_names("dense"))
ELSEWHERE = {*RECIPES, "blend", "mean_blend"}  # tests/test_medn_regressor.py, tests/test_blend.py


def roofline_table(rows, seed):
    """Dense layers on a machine that is exactly a roofline."""
    rng = np.random.default_rng(seed)
    columns = {
        "batch_size": 2 ** rng.integers(0, 8, rows),
        "in_features": np.exp(rng.uniform(np.log(8), np.log(2048), rows)).astype(int),
        "out_features": np.exp(rng.uniform(np.log(8), np.log(2048), rows)).astype(int),
        "activation": rng.choice(["none", "relu"], rows),
    }
    cost = get_kind("dense").cost(columns)
    bound = np.maximum(cost.flops / TRUTH["flop_rate"], cost.bytes / TRUTH["byte_rate"])
    return make_table("dense", columns, TRUTH["overhead"] + bound)


@pytest.fixture(scope="module")
def splits():
    return split(roofline_table(625, 0), seed=1)


@pytest.fixture(scope="module")
def fitted(splits):
    return {n: make_regressor(n, "dense").fit(splits.train, splits.validation, 0) for n in NAMES}


def test_every_regressor_is_tested():
    assert set(EXPECTED) >= set(regressor_names("dense")) - ELSEWHERE
    assert set(EXPECTED) - set(NAMES) <= {"xgboost", "lightgbm"}


@pytest.mark.parametrize("name", NAMES)
def test_learns_a_machine_that_is_a_roofline(fitted, splits, name):
    scores = score(splits.test.latency, fitted[name].predict(splits.test))
    assert scores.mape < EXPECTED[name]
    assert scores.r2_log > 0.85


@pytest.mark.parametrize("name", ["roofline", "residual_hist_gb"])
def test_finds_the_rates_and_holds_far_outside(fitted, name):
    roofline = fitted["roofline"]
    for rate, value in TRUTH.items():
        assert getattr(roofline, rate) == pytest.approx(value, rel=1e-3)
    far = roofline_table(50, 2)
    far.columns["out_features"][:] = 50_000
    cost = get_kind("dense").cost(far.columns)
    truth = 2e-5 + np.maximum(cost.flops / TRUTH["flop_rate"], cost.bytes / TRUTH["byte_rate"])
    np.testing.assert_allclose(fitted[name].predict(far), truth, rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_predicted_alone_as_together(fitted, splits, name):
    together = fitted[name].predict(splits.test)
    assert together.shape == (splits.test.rows,) and together.dtype == np.float64
    alone = [fitted[name].predict(splits.test.take(slice(i, i + 1)))[0] for i in range(5)]
    np.testing.assert_allclose(alone, together[:5], rtol=1e-4)  # f32 inside


@pytest.mark.parametrize("name", NAMES)
def test_predicts_the_same_after_save_and_load(fitted, splits, name, tmp_path):
    save_regressor(fitted[name], tmp_path / "rm.zip")
    again = load_regressor(tmp_path / "rm.zip")
    assert (again.name, again.kind) == (name, "dense")
    predicted = fitted[name].predict(splits.test)
    np.testing.assert_array_equal(again.predict(splits.test), predicted)
    assert again.size_bytes == fitted[name].size_bytes > 0
    assert again.size_bytes <= (tmp_path / "rm.zip").stat().st_size < again.size_bytes + 3000


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_fits_the_same(fitted, splits, name):
    again = make_regressor(name, "dense").fit(splits.train, splits.validation, 0)
    np.testing.assert_array_equal(again.predict(splits.test), fitted[name].predict(splits.test))


def test_every_leaf_is_found_even_when_thresholds_are_features():
    # Thresholds as libraries keep them, f64, right at and right beside numbers of f32.
    values = np.array([0.1, 0.3, 1 / 3], np.float32)
    thresholds = [float(values[0]), np.nextafter(float(values[1]), 0), float(values[2]) + 1e-12]
    for threshold in thresholds:
        tree = Nodes(
            left=np.array([2, 0, 0]),
            right=np.array([1, 0, 0]),
            feature=np.array([0, LEAF, LEAF]),
            threshold=np.array([threshold, 0, 0]),
            value=np.array([0.0, 20.0, 10.0]),
        )
        trees = flattened([tree, tree], base=1.0)
        expected = 1 + 2 * np.where(values.astype(np.float64) <= threshold, 10, 20)
        np.testing.assert_array_equal(trees.predict(values[:, None]), expected)


@pytest.mark.parametrize(
    ("feature", "roots"),
    [
        ([0, LEAF], [0]),  # a child is missing
        ([LEAF, LEAF], [0]),  # a node belongs to nobody
        ([LEAF, 0, LEAF], [0]),  # a node is its own child
        ([0, LEAF, LEAF], [0, 0]),  # an empty tree
        ([0, LEAF, LEAF], [1]),
        ([0, LEAF, LEAF], []),
        ([0, LEAF, LEAF], [0, 3]),
        ([-2, LEAF, LEAF], [0]),
        ([0, 0, 0], [0]),
        ([], []),
    ],
)
def test_links_that_are_no_trees_are_refused(feature, roots):
    feature = np.array(feature, np.int16)
    with pytest.raises(ValueError, match="trees: "):
        linked(feature, np.zeros(len(feature), np.float32), np.array(roots, np.int32), 0.0)


def forged(path, tmp_path, member, change):
    """The artifact again, with a valid checksum, but one of its arrays changed."""
    files = read_artifact(path, "latency_jax regressor", 1)
    arrays = from_npz(files[member])
    change(arrays)
    files[member] = to_npz(arrays)
    write_artifact(tmp_path / "forged.zip", "latency_jax regressor", 1, files)
    return tmp_path / "forged.zip"


@pytest.mark.parametrize(
    ("name", "member", "array", "value"),
    [
        ("hist_gb", "trees.npz", "feature", np.int16(999)),
        ("hist_gb", "trees.npz", "number", np.float32(np.nan)),
        ("decision_tree", "trees.npz", "roots", np.int32(7)),
        ("linear", "ridge.npz", "weights", None),
        ("knn", "neighbours.npz", "points", None),
        ("svr", "support_vectors.npz", "weights", None),
        ("lookup", "table.npz", "nodes", None),
        ("lookup", "table.npz", "features", np.int32(99)),
        ("lookup", "table.npz", "knots_0", np.float64(1)),
    ],
)
def test_forged_arrays_are_refused(fitted, tmp_path, name, member, array, value):
    save_regressor(fitted[name], tmp_path / "rm.zip")

    def change(arrays):
        arrays[array] = arrays[array][:-1] if value is None else np.full_like(arrays[array], value)

    with pytest.raises(ArtifactError, match="holds no regressor"):
        load_regressor(forged(tmp_path / "rm.zip", tmp_path, member, change))


def test_artifacts_of_unknown_regressors(fitted, tmp_path):
    files = {"regressor.json": json.dumps({"name": "oracle", "kind": "dense"}).encode()}
    write_artifact(tmp_path / "a", "latency_jax regressor", 1, files)
    with pytest.raises(ArtifactError, match="regressor 'oracle': expected one of linear"):
        load_regressor(tmp_path / "a")


@pytest.mark.parametrize("name", [n for n in NAMES if n in regressor_names("generic")])
def test_any_columns_will_do(name):
    rng = np.random.default_rng(3)
    columns = {"n": rng.integers(1, 100, 150), "c": rng.choice(["a", "b"], 150)}
    seconds = 1e-3 * columns["n"] * np.where(columns["c"] == "a", 1, 3)
    splits = split(make_table("generic", columns, seconds), seed=0)
    predicted = (
        make_regressor(name, "generic").fit(splits.train, splits.validation, 0).predict(splits.test)
    )
    assert score(splits.test.latency, predicted).r2_log > 0.8


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="did you mean 'hist_gb'"):
        make_regressor("hist_bg", "dense")
    with pytest.raises(ValueError, match=r"'roofline' needs FLOPs and bytes.*one of linear"):
        make_regressor("roofline", "generic")
    assert "residual_ridge" not in regressor_names("generic")
    with pytest.raises(ValueError, match="'linear' is registered already"):
        register_regressor("linear", Entry(lambda name, kind: make_regressor(name, kind)))


@pytest.mark.parametrize("name", NAMES)
def test_predicting_before_fitting(splits, name):
    with pytest.raises(NotFittedError, match=f"'{name}' of 'dense': call fit first"):
        make_regressor(name, "dense").predict(splits.test)
    with pytest.raises(NotFittedError):
        _ = make_regressor(name, "dense").size_bytes


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_a_missing_package_is_named(splits, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {name}"):
        make_regressor(name, "dense").fit(splits.train, splits.validation, 0)


def test_predictions_stay_finite_far_outside(fitted):
    far = roofline_table(20, 4)
    far = replace(far, columns={**far.columns, "in_features": np.full(20, 10**9)})
    for name in NAMES:
        predicted = fitted[name].predict(far)
        assert np.isfinite(predicted).all() and (predicted > 0).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the repository")
def test_third_party_convolutions():
    table = SOURCES["conv_v100_tf1"].read(DATA)
    splits = split(table.take(slice(0, 3000)), seed=42)
    model = make_regressor("hist_gb", "conv2d").fit(splits.train, splits.validation, 0)
    scores = score(splits.test.latency, model.predict(splits.test))
    assert scores.mape < 0.2 and scores.r2_log > 0.97
