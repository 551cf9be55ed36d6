import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latency_jax.artifacts import from_npz, to_json, to_npz
from latency_jax.medn import Medn, MednConfig
from latency_jax.modules import get_kind
from latency_jax.regressors import (
    Entry,
    NotFittedError,
    load_regressor,
    make_regressor,
    registry,
    regressor_names,
    save_regressor,
)
from latency_jax.regressors.medn import RECIPES, MednRecipe, MednRegressor, fit_together, imagined
from latency_jax.regressors.network import Network, extracted
from latency_jax.scores import score
from latency_jax.selection import file_sizes
from latency_jax.table import make_table, split

TINY = MednConfig(
    width=16, frequencies=2, embedding=2, steps=300, batch_size=64, learning_rate=1e-2
)


def table(kind, rows, seed):
    """Kinds that take as long as their FLOPs say, or as the product of their columns."""
    rng = np.random.default_rng(seed)
    columns = {
        "batch_size": 2 ** rng.integers(0, 6, rows),
        "in_features": rng.integers(8, 600, rows),
        "out_features": rng.integers(8, 600, rows),
        "activation": rng.choice(["none", "relu"], rows),
    }
    if kind == "generic":
        del columns["activation"]
        flops = np.prod([columns[name] for name in columns], axis=0)
    else:
        flops = get_kind(kind).cost(columns).flops
    return make_table(kind, columns, 2e-6 + flops / 5e10)


KINDS = ("dense", "generic")
SPLITS = [split(table(kind, 600, k), seed=0) for k, kind in enumerate(KINDS)]
TRAIN, VALIDATION, TEST = zip(*SPLITS)


def fitted(recipe, name="medn", teachers=None, seed=0):
    regressors = [MednRegressor(name, kind, recipe) for kind in KINDS]
    fit_together(regressors, TRAIN, VALIDATION, seed, teachers)
    return regressors


@pytest.fixture(scope="module")
def shared():
    return fitted(MednRecipe(replace(TINY, members=2)))


@pytest.mark.parametrize("frequencies", [0, 3])
@pytest.mark.parametrize("reconstruct", [0.0, 0.5])
def test_numpy_predicts_what_flax_does(frequencies, reconstruct):
    inputs, sizes = (5, 3), (2, 3)
    config = MednConfig(width=8, frequencies=frequencies, embedding=2, reconstruct=reconstruct)
    net = Medn(inputs, sizes, config)
    x = np.zeros((2, 700, 5), np.float32)  # more rows than are predicted at once
    for kind, own in enumerate(inputs):
        x[kind, :, :own] = np.random.default_rng(kind).standard_normal((700, own))
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.vmap(lambda key: net.init(key, x)["params"])(keys)
    # As files keep them.
    params = jax.tree.map(lambda p: np.asarray(p).astype(np.float16).astype(np.float32), params)
    out = jax.vmap(lambda p: net.apply({"params": p}, x))(params)
    for kind, own in enumerate(inputs):
        network = extracted(params, kind, own, sizes[kind])
        assert network.inputs == own
        predicted = network.predict(x[kind, :, :own].astype(np.float64))
        assert_allclose(predicted, np.asarray(out)[:, kind, :, 0].mean(axis=0), atol=2e-4)


def test_large_inputs_stay_finite():
    network = extracted(
        {
            "adapter_kernel": np.full((1, 1, 1, 4), -1e3),
            "adapter_bias": np.zeros((1, 1, 1, 4)),
            "head_kernel": np.ones((1, 1, 4, 1)),
            "head_bias": np.ones((1, 1, 1, 1)),
        },
        0,
        1,
        0,
    )
    assert_allclose(network.predict(np.array([[1e3], [0.0]])), [1, 1])  # silu(-1e6) is 0


def test_learns_all_kinds_at_once(shared):
    for regressor, test in zip(shared, TEST):
        scores = score(test.latency, regressor.predict(test))
        assert scores.r2_log > 0.97


def test_rows_are_predicted_alone_as_together(shared):
    for regressor, test in zip(shared, TEST):
        together = regressor.predict(test)
        assert together.dtype == np.float64
        alone = [regressor.predict(test.take(slice(i, i + 1)))[0] for i in range(5)]
        assert_allclose(alone, together[:5], rtol=1e-4)


def test_kinds_share_one_file_and_no_other(shared):
    sizes = [file_sizes(regressor.to_files()) for regressor in shared]
    both = sizes[0].keys() & sizes[1].keys()
    assert len(both) == 1
    assert sizes[0][both.pop()] == len(shared[0].to_files()["encoder.npz"])
    apart = [file_sizes(r.to_files()) for r in fitted(MednRecipe(replace(TINY, shared=False)))]
    assert not apart[0].keys() & apart[1].keys()


def test_predicts_the_same_after_save_and_load(shared, tmp_path):
    for regressor, test in zip(shared, TEST):
        save_regressor(regressor, tmp_path / "rm.zip")
        again = load_regressor(tmp_path / "rm.zip")
        assert (again.name, again.kind) == ("medn", regressor.kind)
        assert again.size_bytes == regressor.size_bytes
        assert_array_equal(again.predict(test), regressor.predict(test))


def test_it_starts_from_a_sum_of_costs_where_a_kind_has_costs(shared):
    assert ["additive.json" in r.to_files() for r in shared] == [True, False]
    few = TRAIN[0].take(slice(0, 24))
    errors = {}
    for base in (True, False):
        recipe = MednRecipe(replace(TINY, steps=60), base=base)
        regressor = MednRegressor("medn", "dense", recipe).fit(few, VALIDATION[0], 0)
        assert ("additive.json" in regressor.to_files()) == base
        errors[base] = score(TEST[0].latency, regressor.predict(TEST[0])).mape
    assert errors[True] < 0.05 < errors[False]  # these latencies are such a sum
    without = {n: data for n, data in regressor.to_files().items() if n != "medn.json"}
    with pytest.raises(ValueError, match="not the files"):
        make_regressor("medn", "dense").restore(without)


def test_a_seed_says_all(shared):
    again = fitted(MednRecipe(replace(TINY, members=2)))
    for a, b, test in zip(again, shared, TEST):
        assert_array_equal(a.predict(test), b.predict(test))


def test_one_kind_alone():
    regressor = MednRegressor("mlp", "dense", MednRecipe(TINY))
    regressor.fit(TRAIN[0], VALIDATION[0], 0)
    assert score(TEST[0].latency, regressor.predict(TEST[0])).r2_log > 0.97


def test_a_single_network_learns_what_its_teacher_says(monkeypatch):
    tiny = partial(MednRegressor, recipe=MednRecipe(replace(TINY, members=2)))
    monkeypatch.setitem(registry._ENTRIES, "tiny_ensemble", Entry(tiny))
    parts = list(zip(KINDS, TRAIN, VALIDATION))
    teachers = [tiny("tiny_ensemble", kind).fit(*tables, 0) for kind, *tables in parts]
    recipe = MednRecipe(TINY, teacher="tiny_ensemble")
    students = fitted(recipe, "medn_distilled", teachers=teachers)
    for student, teacher, test in zip(students, teachers, TEST):
        assert len(student._network.own["head_kernel"]) == 1
        asked = imagined(test, 500, np.random.default_rng(5))
        answers = score(teacher.predict(asked), student.predict(asked))
        assert answers.r2_log > 0.98
    for own, given, test in zip(fitted(recipe, "medn_distilled"), students, TEST):
        assert_array_equal(own.predict(test), given.predict(test))  # it fits the same teacher


def test_imagined_rows_are_made_of_measured_values():
    asked = imagined(TRAIN[0], 300, np.random.default_rng(0))
    assert asked.rows == 300 and asked.columns.keys() == TRAIN[0].columns.keys()
    for name, column in asked.columns.items():
        assert set(column.tolist()) <= set(TRAIN[0].columns[name].tolist())
    pairs = [set(zip(*(t.columns[n].tolist() for n in t.columns))) for t in (asked, TRAIN[0])]
    assert len(pairs[0] - pairs[1]) > 200  # and they are new


def test_imagined_rows_keep_the_columns_of_a_device_together():
    columns = {"x": np.arange(40), "device": ["a", "b"] * 20, "device_cores": [1.0, 2.0] * 20}
    asked = imagined(make_table("generic", columns, np.ones(40)), 200, np.random.default_rng(0))
    pairs = zip(asked.columns["device"].tolist(), asked.columns["device_cores"].tolist())
    assert set(pairs) == {("a", 1.0), ("b", 2.0)}


def test_registered_recipes_are_made_by_name():
    assert make_regressor("mlp", "dense").recipe.network.shared is False
    assert make_regressor("medn", "generic").recipe.network.shared is True
    for name, recipe in RECIPES.items():
        assert recipe.teacher in ("", *regressor_names("dense"))
        assert make_regressor(name, "dense").recipe == recipe


def test_unfitted_ones_say_so():
    for call in (lambda r: r.predict(TEST[0]), lambda r: r.to_files()):
        with pytest.raises(NotFittedError, match="call fit first"):
            call(make_regressor("medn", "dense"))


def test_different_recipes_do_not_fit_together():
    regressors = [make_regressor("medn", "dense"), make_regressor("mlp", "generic")]
    with pytest.raises(ValueError, match="different recipes"):
        fit_together(regressors, TRAIN, VALIDATION, 0)


def changed(files, file, **arrays):
    return {**files, file: to_npz({**from_npz(files[file]), **arrays})}


def test_foreign_files_are_refused(shared):
    files = shared[0].to_files()
    record = json.loads(files["medn.json"])
    half = np.ones((2, 3), np.float16)
    foreign = [
        {},
        {name: data for name, data in files.items() if name != "encoder.npz"},
        {**files, "medn.json": b"[]"},
        {**files, "medn.json": to_json({**record, "log_scale": ["x", 1.0]})},
        {**files, "own.npz": files["encoder.npz"]},
        {**files, "encoder.npz": b"PK"},
        changed(files, "own.npz", head_kernel=half),
        changed(files, "own.npz", mix=np.ones((2, 40, 5, 2), np.float16)),
        changed(files, "encoder.npz", block0_up_bias=np.full((2, 1, 16), np.nan, np.float16)),
        changed(files, "encoder.npz", block0_up_bias=np.zeros((2, 1, 16))),
    ]
    for each in foreign:
        with pytest.raises(ValueError):
            make_regressor("medn", "dense").restore(each)
    with pytest.raises(ValueError, match="expected 'generic'"):
        make_regressor("medn", "generic").restore(files)


def test_arrays_that_are_no_network_are_refused(shared):
    network = shared[0]._network
    encoder = {name: a for name, a in network.encoder.items() if name != "block0_down_bias"}
    with pytest.raises(ValueError, match="not the arrays of a network"):
        Network(network.own, encoder)
