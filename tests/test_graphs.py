"""Generated graphs: their shape, their statistics, and that a seed alone decides them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.traces.graphs import _rmat_edges, _symmetric_rows, make_graph

KINDS = ("kron", "uniform")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60))
def test_rows_equal_sets(edges):
    ends = np.array(edges, np.int32).reshape(-1, 2)
    offsets, neighbours = _symmetric_rows(ends, 10)
    for u in range(10):
        expected = {v for a, v in edges if a == u} | {a for a, v in edges if v == u}
        row = neighbours[offsets[u] : offsets[u + 1]]
        assert row.tolist() == sorted(expected - {u})


@pytest.mark.parametrize("kind", KINDS)
def test_layout_and_weights(kind):
    graph = make_graph(kind, 9, 8, np.random.default_rng(3), weighted=True)
    assert graph.vertices == 512
    assert graph.offsets.dtype == np.int64 and graph.neighbours.dtype == np.int32
    assert graph.offsets[0] == 0 and graph.offsets[-1] == len(graph.neighbours)
    u = np.repeat(np.arange(512), np.diff(graph.offsets))
    v = graph.neighbours
    assert not np.any(u == v)
    pair = 512 * u + v
    assert np.all(np.diff(pair) > 0)  # sorted, without duplicates
    back = np.searchsorted(pair, 512 * v + u)
    np.testing.assert_array_equal(pair[back], 512 * v + u)  # both directions
    np.testing.assert_array_equal(graph.weights[back], graph.weights)
    assert graph.weights.min() >= 1 and graph.weights.max() <= 255
    assert abs(graph.weights.mean() - 128) < 5 * 74 / np.sqrt(len(v) / 2)  # evenly spread


def test_rmat_quadrants():
    draws = np.random.default_rng(0).integers(0, 1 << 16, (100_000, 1), dtype=np.uint16)
    ends = np.empty((100_000, 2), np.int32)
    _rmat_edges(draws, ends)
    shares = np.bincount(2 * ends[:, 0] + ends[:, 1]) / 100_000
    np.testing.assert_allclose(shares, [0.57, 0.19, 0.19, 0.05], atol=0.008)  # 5 sigma


def test_rmat_bits_run_from_high_to_low():
    ends = np.empty((1, 2), np.int32)
    # Quadrants (0, 1), (1, 0), (1, 1) of the shares .57, .19, .19, .05
    _rmat_edges(np.array([[40_000, 55_000, 65_000]], np.uint16), ends)
    assert ends.tolist() == [[0b011, 0b101]]


def test_kron_is_skewed_and_uniform_is_not():
    kron, uniform = (make_graph(kind, 12, 16, np.random.default_rng(1)) for kind in KINDS)
    assert np.diff(kron.offsets).max() > 20 * np.diff(uniform.offsets).mean()
    assert np.diff(uniform.offsets).max() < 3 * np.diff(uniform.offsets).mean()
    # Almost all uniform edges survive; both directions are stored.
    assert 0.98 * 32 < np.diff(uniform.offsets).mean() <= 32
    # Vertices are renamed: hubs do not gather at low numbers.
    hubs = np.argsort(np.diff(kron.offsets))[-50:]
    assert hubs.min() < 1000 and hubs.max() > 3000


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides(kind):
    def graph(seed):
        return make_graph(kind, 8, 8, np.random.default_rng(seed), weighted=True)

    for again, first in zip(graph(5), graph(5)):
        np.testing.assert_array_equal(again, first)
    assert not np.array_equal(graph(5).neighbours[:100], graph(6).neighbours[:100])


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind = 'ring': expected 'kron' or 'uniform'"):
        make_graph("ring", 8, 8, np.random.default_rng(0))
