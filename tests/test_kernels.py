"""Each kernel's result against scipy, networkx or the textbook, while it records."""

import networkx
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra, shortest_path

from packd_jax.config import CacheConfig, CacheLevelConfig
from packd_jax.traces.graphs import Graph, make_graph
from packd_jax.traces.recorder import new_recorder, recorded_loads
from packd_jax.traces.shortest_paths import UNREACHED
from packd_jax.traces.workloads import run_kernel


def path_graph(vertices):
    """0 - 1 - 2 - ..., with weights that need many turns of the ring of buckets."""
    rows = [[v for v in (u - 1, u + 1) if 0 <= v < vertices] for u in range(vertices)]
    offsets = np.cumsum([0, *map(len, rows)])
    weights = [200 + min(u, v) % 50 for u, row in enumerate(rows) for v in row]
    return Graph(
        offsets.astype(np.int64), np.concatenate(rows).astype(np.int32), np.array(weights, np.int32)
    )


GRAPHS = {
    "kron": make_graph("kron", 9, 8, np.random.default_rng(1), weighted=True),
    "uniform": make_graph("uniform", 8, 4, np.random.default_rng(2), weighted=True),
    "sparse": make_graph("uniform", 7, 1, np.random.default_rng(3), weighted=True),
    "path": path_graph(300),
}


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]


def matrix(graph, values=None):
    values = np.ones(len(graph.neighbours)) if values is None else values
    shape = (graph.vertices, graph.vertices)
    return csr_matrix((values, graph.neighbours, graph.offsets), shape)


def busiest(graph):
    return int(np.argmax(np.diff(graph.offsets)))


def run(kernel, graph, source=0):
    recorder = new_recorder(CacheConfig(), 10_000_000)
    result = run_kernel(kernel, graph, recorder, source)
    assert result.shape == (graph.vertices,)
    assert recorded_loads(recorder).rows > 0
    return result


def sources(graph):
    leaf = int(np.flatnonzero(np.diff(graph.offsets))[-1])
    return (busiest(graph), leaf)


def test_bfs_parents_lie_one_level_up(graph):
    for source in sources(graph):
        parent = run("bfs", graph, source)
        depth = shortest_path(matrix(graph), unweighted=True, indices=source)
        np.testing.assert_array_equal(parent >= 0, np.isfinite(depth))
        assert parent[source] == source
        for v in np.flatnonzero(parent >= 0):
            if v != source:
                row = graph.neighbours[graph.offsets[v] : graph.offsets[v + 1]]
                assert parent[v] in row
                assert depth[parent[v]] == depth[v] - 1


def test_bfs_turns_bottom_up_and_back():
    # A path into a dense core turns the search, a path out of it turns it back.
    paths = networkx.compose(networkx.path_graph(100), networkx.path_graph(range(300, 400)))
    net = networkx.compose(paths, networkx.complete_graph(range(99, 301)))
    rows = [sorted(net[u]) for u in range(400)]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    graph = Graph(offsets, np.concatenate(rows).astype(np.int32), np.empty(0, np.int32))
    tiny = CacheLevelConfig(64 * 2, 2)  # everything misses, so every access site prints
    recorder = new_recorder(CacheConfig(tiny, tiny, tiny), 1_000_000)
    parent = run_kernel("bfs", graph, recorder, 0)
    depth = networkx.single_source_shortest_path_length(net, 0)
    assert all(depth[int(parent[v])] == depth[v] - 1 for v in range(1, 400))
    pc = recorded_loads(recorder).pc
    top_down, bottom_up = np.flatnonzero(pc == 0x401069), np.flatnonzero(pc == 0x401181)
    assert top_down[0] < bottom_up[0] <= bottom_up[-1] < top_down[-1]


def test_pr_is_the_fixed_point(graph):
    scores = run("pr", graph)
    degree = np.maximum(np.diff(graph.offsets), 1)
    expected = np.full(graph.vertices, 1 / graph.vertices)
    for _ in range(200):
        expected = 0.15 / graph.vertices + 0.85 * (matrix(graph) @ (expected / degree))
    # The last sweep moved by 1e-4 in all; what is left is at most .85 / .15 of that.
    assert np.abs(scores - expected).sum() < 6e-4


def test_cc_labels_are_components(graph):
    labels = run("cc", graph)
    count, expected = connected_components(matrix(graph), directed=False)
    pairs = set(zip(labels.tolist(), expected.tolist()))
    assert len(pairs) == count == len(set(labels.tolist()))
    np.testing.assert_array_equal(labels[labels], labels)  # a label is a vertex of its component


def test_sssp_equals_dijkstra(graph):
    for source in sources(graph):
        distance = run("sssp", graph, source)
        expected = dijkstra(matrix(graph, graph.weights), indices=source)
        np.testing.assert_array_equal(distance == UNREACHED, np.isinf(expected))
        reached = np.isfinite(expected)
        np.testing.assert_array_equal(distance[reached], expected[reached])


def test_bc_equals_networkx(graph):
    net = networkx.from_scipy_sparse_array(matrix(graph))
    for source in sources(graph):
        scores = run("bc", graph, source)
        expected = networkx.betweenness_centrality_subset(net, [source], list(net))
        # networkx halves the sums of undirected graphs.
        np.testing.assert_allclose(scores, 2 * np.array(list(expected.values())), rtol=1e-4)


def test_kernels_stop_early(graph):
    for kernel in ("bfs", "pr", "cc", "sssp", "bc"):
        whole, part = (new_recorder(CacheConfig(), n) for n in (1_000_000, 500))
        for recorder in (whole, part):
            run_kernel(kernel, graph, recorder, busiest(graph))
        expected = recorded_loads(whole)
        expected = expected.take(expected.instr_id <= 500)
        assert expected.rows > 0
        for given, wanted in zip(recorded_loads(part), expected):
            np.testing.assert_array_equal(given, wanted)


def test_bad_calls_are_refused():
    recorder = new_recorder(CacheConfig(), 1000)
    graph = make_graph("uniform", 4, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="kernel = 'dfs': expected one of"):
        run_kernel("dfs", graph, recorder)
    with pytest.raises(ValueError, match="source = 16: expected a vertex, 0 to 15"):
        run_kernel("bfs", graph, recorder, source=16)
    with pytest.raises(ValueError, match="weighted=True"):
        run_kernel("sssp", graph, recorder)
