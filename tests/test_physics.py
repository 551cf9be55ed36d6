import numpy as np
import pytest

from latency_jax import physics
from latency_jax.modules import get_kind, kinds
from latency_jax.table import make_table


def table_of(kind, rows=5):
    return make_table(kind, {"batch_size": np.arange(1, rows + 1)}, np.ones(rows))


@pytest.mark.parametrize("kind", kinds())
def test_amounts_are_the_cost_and_the_work_of_the_kind(kind):
    table = table_of(kind)
    known = table.amounts
    assert known.shape == (7, 5) and (known >= 0).all() and not known[5:].any()
    np.testing.assert_array_equal(known[:4], np.array(get_kind(kind).cost(table.columns)))
    np.testing.assert_array_equal(known[4], get_kind(kind).cpu_work(table.columns))
    for row in range(5):
        alone = table.take(slice(row, row + 1)).amounts
        np.testing.assert_allclose(alone[:, 0], known[:, row], rtol=1e-12)


def test_loads_are_amounts_where_a_table_says_them():
    columns = {"batch_size": np.array([1, 2]), "cpu_utilization": np.array([0.25, 1.0])}
    table = make_table("dense", columns, np.ones(2))
    assert table.amounts[5:].tolist() == [[0.25, 1.0], [0.0, 0.0]]
    assert table.take(slice(0, 1)).amounts[5:].tolist() == [[0.25], [0.0]]


@pytest.mark.parametrize(("kind", "has_work"), [("dense", False), ("conv2d", True)])
def test_features_by_hand(kind, has_work):
    known = table_of(kind).amounts
    features = dict(zip(physics.feature_names(kind), physics.features(kind, known), strict=True))
    moved = known[1:4].sum(axis=0)
    np.testing.assert_allclose(features["log(FLOPs)"], np.log(1 + known[0]))
    np.testing.assert_allclose(features["log(output bytes)"], np.log(1 + known[3]))
    np.testing.assert_allclose(features["log(bytes)"], np.log(1 + moved))
    np.testing.assert_allclose(
        features["log(FLOPs per byte)"], np.log((1 + known[0]) / (1 + moved)), atol=1e-12
    )
    assert ("log(CPU work)" in features) == has_work
    if has_work:
        np.testing.assert_allclose(features["log(CPU work)"], np.log(1 + known[4]))


@pytest.mark.parametrize("kind", kinds())
def test_features_of_one_row_are_those_of_a_table(kind):
    known = table_of(kind).amounts
    together = physics.features(kind, known)
    for row in range(5):
        alone = physics.features_of_one(kind, known[:, row])
        np.testing.assert_allclose(alone, together[:, row], rtol=1e-12)
