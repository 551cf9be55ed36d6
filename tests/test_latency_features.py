import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_jax.features import GENERIC, TILES, FeatureEncoder
from latency_jax.modules import get_kind
from latency_jax.table import TableError, make_table


def generic(**columns):
    rows = len(next(iter(columns.values())))
    return make_table("generic", columns, np.ones(rows))


def dense(batch_size, in_features, out_features, **more):
    columns = {"batch_size": batch_size, "in_features": in_features, "out_features": out_features}
    return make_table("dense", {**columns, **more}, np.ones(len(batch_size)))


def test_numbers_logarithms_and_categories_by_hand():
    table = generic(wide=[0, 99, 9], narrow=[1, 2, 3], flag=[True, False, True], c=["b", "a", "b"])
    encoder = FeatureEncoder.fit(table)
    assert encoder.names == ("wide", "narrow", "flag", "log(wide)", "c = a", "c = b")
    expected = [
        [0, 1, 1, 0, 0, 1],
        [99, 2, 0, np.log(100), 1, 0],
        [9, 3, 1, np.log(10), 0, 1],
    ]
    np.testing.assert_allclose(encoder.transform(table), expected, rtol=1e-15)
    assert FeatureEncoder.fit(table, "raw").names == ("wide", "narrow", "flag", "c = a", "c = b")
    log = FeatureEncoder.fit(table, "log").names
    assert log == ("narrow", "flag", "log(wide)", "c = a", "c = b")


@pytest.mark.parametrize(
    ("column", "is_wide"),
    [([1, 10], True), ([1, 9], False), ([0.0, 1.0], False), ([0.0, 10.0], True), ([-1, 99], False)],
)
def test_which_columns_are_wide(column, is_wide):
    assert ("log(x)" in FeatureEncoder.fit(generic(x=column)).names) == is_wide


def test_physics_of_a_kind():
    table = dense([1, 64], [10, 1000], [20, 30])
    encoder = FeatureEncoder.fit(table, "raw")
    cost = get_kind("dense").cost(table.columns)
    features = dict(zip(encoder.names, encoder.transform(table).T))
    np.testing.assert_allclose(features["log(FLOPs)"], np.log1p(cost.flops))
    np.testing.assert_allclose(features["log(bytes)"], np.log1p(cost.bytes))
    np.testing.assert_allclose(features["log(weight bytes)"], np.log1p(cost.weight_bytes))
    np.testing.assert_allclose(features["log(FLOPs per byte)"], np.log(cost.intensity), rtol=1e-2)


def test_tile_remainders_of_wide_whole_numbers():
    table = generic(channels=[65, 130, 200], few=[1, 8, 100], share=[0.1, 200.5, 3.0])
    encoder = FeatureEncoder.fit(table, "raw", tiles=TILES)
    features = dict(zip(encoder.names, encoder.transform(table).T))
    assert [n for n in encoder.names if "%" in n] == [f"channels % {t}" for t in TILES]
    np.testing.assert_allclose(features["channels % 32"], [1 / 32, 2 / 32, 8 / 32])
    np.testing.assert_allclose(features["channels % 128"], [65 / 128, 2 / 128, 72 / 128])


def test_only_training_rows_are_learnt_from():
    train, later = generic(x=[1.0, 3.0], c=["a", "b"]), generic(x=[100.0, -5.0], c=["b", "new"])
    encoder = FeatureEncoder.fit(train, standardized=True)
    np.testing.assert_allclose(encoder.transform(train), [[-1, 1, -1], [1, -1, 1]])
    np.testing.assert_allclose(encoder.transform(later), [[98, -1, 1], [-7, -1, -1]])


def test_logarithms_stay_finite_below_what_was_seen():
    encoder = FeatureEncoder.fit(generic(x=[0, 50]), "log")
    assert encoder.transform(generic(x=[-7, 0]))[:, 0].tolist() == [0, 0]


def test_codes_are_categories_where_the_kind_has_a_text():
    table = dense([1, 2, 3], [4, 4, 4], [5, 5, 5], activation=[0, 1, 3])
    encoder = FeatureEncoder.fit(table, "raw")
    assert {"activation = 0", "activation = 1", "activation = 3"} < set(encoder.names)


def test_constant_features_are_left_out():
    assert FeatureEncoder.fit(generic(x=[1, 2], same=[7, 7], c=["a", "a"])).names == ("x",)
    with pytest.raises(TableError, match="no column varies"):
        FeatureEncoder.fit(generic(x=[1, 1], c=["a", "a"]))


def test_tables_that_do_not_fit():
    encoder = FeatureEncoder.fit(generic(x=[1, 2], c=["a", "b"]))
    with pytest.raises(TableError, match="no column 'x': expected y, c and x"):
        encoder.transform(generic(y=[1], c=["a"]))
    with pytest.raises(TableError, match="'x' holds text"):
        encoder.transform(generic(x=["1"], c=["a"]))
    with pytest.raises(TableError, match="'c' holds numbers"):
        encoder.transform(generic(x=[1], c=[2]))
    with pytest.raises(TableError, match="of kind 'dense': expected 'generic'"):
        encoder.transform(dense([1], [1], [1]))
    with pytest.raises(ValueError, match="wide = 'logs'"):
        FeatureEncoder.fit(generic(x=[1, 2]), "logs")


@given(
    st.lists(st.tuples(st.integers(-5, 500), st.floats(-9, 9), st.text(max_size=3)), min_size=2),
    st.sampled_from(["raw", "log", "both"]),
    st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_json_round_trip(rows, wide, standardized):
    number, share, text = zip(*rows)
    table = generic(number=number, share=share, text=np.array(text), always=np.arange(len(rows)))
    encoder = FeatureEncoder.fit(table, wide, standardized, tiles=(8, 32))
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    np.testing.assert_array_equal(again.transform(table), encoder.transform(table))
    assert np.isfinite(encoder.transform(table)).all()


@pytest.mark.parametrize("values", [{}, {"kind": "generic"}, [1], {"categories": 3}])
def test_foreign_json(values):
    with pytest.raises(ValueError, match="not a feature encoder"):
        FeatureEncoder.from_json(values)


@pytest.mark.parametrize("kind", ["conv2d", "dense", GENERIC])
def test_a_row_alone_has_the_features_that_it_has_among_others(kind):
    rng = np.random.default_rng(0)
    columns = {
        "batch_size": rng.integers(1, 300, 40),
        "in_channels" if kind == "conv2d" else "in_features": rng.integers(1, 900, 40),
        "activation": rng.choice(["none", "relu", "gelu"], 40),
        "cpu_utilization": rng.uniform(-0.1, 1, 40),
        "use_bias": rng.random(40) < 0.5,
    }
    table = make_table(kind, columns, np.ones(40))
    encoder = FeatureEncoder.fit(table, standardized=True, tiles=TILES)
    together = encoder.transform(table)
    for row in range(40):
        alone = encoder.transform(table.take(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-12, atol=1e-12)
    with pytest.raises(TableError, match="'batch_size' holds text"):
        one = {name: column[:1] for name, column in columns.items()}
        encoder.transform(make_table(kind, {**one, "batch_size": np.array(["8"])}, np.ones(1)))
