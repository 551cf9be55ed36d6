"""The embedded default trace: a graph kernel that runs on a generated graph and is recorded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from packd_jax.config import WorkloadConfig
from packd_jax.traces.betweenness import bc, bc_arrays
from packd_jax.traces.breadth_first import bfs, bfs_arrays
from packd_jax.traces.graphs import Graph, make_graph
from packd_jax.traces.kernels import cc, cc_arrays, pr, pr_arrays
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.recorder import (
    INSTRUCTIONS,
    Recorder,
    new_recorder,
    recorded_loads,
    stopped,
)
from packd_jax.traces.shortest_paths import sssp, sssp_arrays

_HEAP, _PAGE = 0x4000000, 4096
_KERNELS = {
    "bfs": (bfs, bfs_arrays),
    "pr": (pr, pr_arrays),
    "cc": (cc, cc_arrays),
    "sssp": (sssp, sssp_arrays),
    "bc": (bc, bc_arrays),
}


def record_workload(
    config: WorkloadConfig, progress: Callable[[float], None] | None = None
) -> LoadTrace:
    """Runs `config.kernel` and returns its LLC loads up to instruction `config.instructions`.

    Instruction 1 begins the kernel's main phase, with the caches as initialisation left them.
    A kernel that ends earlier starts again, from another source where it has one. `progress`
    is told the share of the instructions that have run, a few times a second and at the end.
    The same configuration gives the same trace.
    """
    rng = np.random.default_rng(config.seed)
    weighted = config.kernel == "sssp"
    graph = make_graph(config.graph, config.scale, config.degree, rng, weighted)
    sources = np.flatnonzero(np.diff(graph.offsets))
    recorder = new_recorder(config.cache, config.instructions)

    def report() -> None:
        if progress is not None:
            progress(min(1.0, recorder.clock[INSTRUCTIONS] / config.instructions))

    with ThreadPoolExecutor(1) as thread:  # kernels release the GIL, so progress can be told
        while not stopped(recorder):
            source = int(rng.choice(sources))
            run = thread.submit(run_kernel, config.kernel, graph, recorder, source)
            while wait([run], timeout=0.2).not_done:
                report()
            run.result()
    report()
    return recorded_loads(recorder)


def run_kernel(kernel: str, graph: Graph, recorder: Recorder, source: int = 0) -> np.ndarray:
    """Runs one kernel once on `recorder` and returns its result, one value a vertex.

    bfs: parent i32, negative where not reached. pr: score f32. cc: component label i32.
    sssp: distance i32, `shortest_paths.UNREACHED` without a path. bc: dependency f32 of the
    paths from `source`. The result is unfinished if the recorder stops on the way. Raises
    ValueError for an unknown kernel, a source out of range, or sssp on an unweighted graph.
    """
    if kernel not in _KERNELS:
        raise ValueError(f"kernel = {kernel!r}: expected one of {tuple(_KERNELS)}")
    if not 0 <= source < graph.vertices:
        raise ValueError(f"source = {source}: expected a vertex, 0 to {graph.vertices - 1}")
    if kernel == "sssp" and len(graph.weights) != len(graph.neighbours):
        raise ValueError("sssp needs weights: make the graph with weighted=True")
    function, _ = _KERNELS[kernel]
    at = tuple(first for first, _ in heap_layout(kernel, graph).values())
    return function(graph, source, at, recorder)


def heap_layout(kernel: str, graph: Graph) -> dict[str, tuple[int, int]]:
    """Where the arrays of a kernel's program lie: name -> byte addresses (first, end)."""
    _, arrays = _KERNELS[kernel]
    layout, first = {}, _HEAP
    for name, size_bytes in arrays(graph.vertices, len(graph.neighbours)).items():
        layout[name] = (first, first + size_bytes)
        first += -(-size_bytes // _PAGE) * _PAGE
    return layout
