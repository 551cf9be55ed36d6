"""The embedded default trace: plausible, repeatable, and close to what real programs do."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from packd_jax.config import CacheConfig, CacheLevelConfig, WorkloadConfig
from packd_jax.traces.graphs import make_graph
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.recorder import new_recorder, recorded_loads
from packd_jax.traces.workloads import heap_layout, record_workload, run_kernel

KERNELS = ("bfs", "pr", "cc", "sssp", "bc")
REAL_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"


# As many times smaller than the default as the graph of 2**12 vertices is.
SMALL_CACHE = CacheConfig(
    CacheLevelConfig(2 * 1024, 8, 5),
    CacheLevelConfig(8 * 1024, 8, 10),
    CacheLevelConfig(32 * 1024, 16, 20),
)


def small(kernel):
    return WorkloadConfig(kernel=kernel, scale=12, instructions=200_000, cache=SMALL_CACHE)


def near_share(trace):
    """Share of successive loads at most 128 blocks apart."""
    blocks = (trace.address >> np.uint64(6)).astype(np.int64)
    return np.mean(np.abs(np.diff(blocks)) <= 128)


@pytest.mark.parametrize("kernel", KERNELS)
def test_default_is_plausible(kernel):
    config = small(kernel)
    trace = record_workload(config)
    assert trace.rows > 2000
    assert 1 <= trace.instr_id[0] < 200 and trace.instr_id[-1] <= config.instructions
    assert np.all(np.diff(trace.instr_id) > 0)
    assert np.all(np.diff(trace.cycle) >= 0)
    assert 0.02 < trace.hit.mean() < 0.95
    assert 4 <= len(np.unique(trace.pc)) <= 64
    assert 0.02 < near_share(trace) < 0.98
    weighted = kernel == "sssp"
    graph = make_graph(config.graph, 12, 16, np.random.default_rng(config.seed), weighted)
    layout = list(heap_layout(kernel, graph).values())
    inside = [(trace.address >= first) & (trace.address < end) for first, end in layout]
    assert np.all(np.any(inside, axis=0))


@pytest.mark.parametrize("kernel", KERNELS)
def test_arrays_do_not_overlap(kernel):
    graph = make_graph("kron", 8, 4, np.random.default_rng(0))
    arrays = list(heap_layout(kernel, graph).values())
    assert arrays[0][0] == 0x4000000
    assert all(first % 4096 == 0 and first < end for first, end in arrays)
    assert all(end <= following for (_, end), (following, _) in pairwise(arrays))


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_config_same_bytes(kernel):
    first, again = (record_workload(small(kernel)) for _ in range(2))
    for column, same in zip(first, again):
        assert column.tobytes() == same.tobytes()


def test_seed_and_graph_matter():
    base = {"kernel": "bfs", "scale": 10, "instructions": 50_000}
    traces = [
        record_workload(WorkloadConfig(**base, **change))
        for change in ({}, {"seed": 2}, {"graph": "uniform"})
    ]
    addresses = {trace.address[:100].tobytes() for trace in traces}
    assert len(addresses) == 3


def test_kernels_start_again_until_the_budget_is_spent():
    shares = []
    config = WorkloadConfig(kernel="bfs", scale=12, degree=4, instructions=2_000_000)
    trace = record_workload(config, shares.append)
    assert trace.instr_id[-1] > 1_900_000  # one search of so small a graph takes far less
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.fixture(scope="module")
def real_graph():
    """The real traces' size of graph, drawn anew."""
    return make_graph("kron", 20, 16, np.random.default_rng(1))


@pytest.mark.skipif(not REAL_TRACES.is_dir(), reason="no ../shared/data/traces beside the project")
@pytest.mark.parametrize("kernel,instructions", [("cc", 3_000_000), ("pr", 10_000_000)])
def test_recorded_resembles_real(kernel, instructions, real_graph):
    """Kernels without a source visit any such graph alike, so their statistics must agree."""
    recorder = new_recorder(CacheConfig(), instructions)
    run_kernel(kernel, real_graph, recorder)
    recorded = recorded_loads(recorder)
    real: LoadTrace = read_trace(REAL_TRACES / f"{kernel}-kron.txt.xz")
    real = real.take(real.instr_id <= instructions)
    assert recorded.rows == pytest.approx(real.rows, rel=0.05)
    assert recorded.hit.mean() == pytest.approx(real.hit.mean(), abs=0.03)
    assert near_share(recorded) == pytest.approx(near_share(real), abs=0.03)
    assert recorded.cycle[-1] == pytest.approx(real.cycle[-1], rel=0.05)
