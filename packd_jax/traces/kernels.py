"""PageRank and connected components: kernels that sweep over all vertices, and how all record.

A kernel computes its result on NumPy arrays and records what the compiled C++ program would do,
the GAP Benchmark Suite's serial reference (arXiv 1508.03619): `at` holds the byte address of
each array of that program, `load(recorder, pc, address, gap)` comes `gap` instructions after
the access before it. Gaps and relative PCs follow the loops that g++ -O2 makes of the
reference; stack, object headers and libraries are left out. Initialisation goes through the
caches uncounted, and a kernel returns early once the recorder has stopped.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import register_jitable

from packd_jax.traces.cache import access
from packd_jax.traces.recorder import advance, load, stopped, store

_DAMPING, _TOLERANCE, _ITERATIONS = np.float32(0.85), 1e-4, 20  # pr
_SAMPLED_NEIGHBOURS, _SAMPLES = 2, 1024  # cc


def pr_arrays(v: int, e: int) -> dict[str, int]:
    """Bytes of each array of the program, for v vertices and e stored edges, in heap order."""
    return {"scores": 4 * v, "contributions": 4 * v, "neighbours": 4 * e, "offsets": 8 * (v + 1)}


@njit(nogil=True, cache=True)
def pr(graph, source, at, recorder):
    """PageRank by pulling, new contributions used at once: scores f32[V]. No source needed."""
    scores_at, contributions_at, neighbours_at, offsets_at = at
    vertices = len(graph.offsets) - 1
    base = (np.float32(1) - _DAMPING) / np.float32(vertices)
    scores = np.full(vertices, 1 / vertices, np.float32)
    contributions = np.empty(vertices, np.float32)
    for u in range(vertices):
        access(recorder.caches, scores_at + 4 * u, True)
        access(recorder.caches, offsets_at + 8 * (u + 1), False)
        access(recorder.caches, contributions_at + 4 * u, True)
        contributions[u] = scores[u] / np.float32(max(graph.offsets[u + 1] - graph.offsets[u], 1))
    for _ in range(_ITERATIONS):
        error = 0.0
        for u in range(vertices):
            if stopped(recorder):
                return scores
            begin, end = graph.offsets[u], graph.offsets[u + 1]
            load(recorder, 0x402060, offsets_at + 8 * u, 1)
            load(recorder, 0x402064, offsets_at + 8 * (u + 1), 1)
            advance(recorder, 4)
            total = np.float32(0)
            for edge in range(begin, end):
                v = graph.neighbours[edge]
                load(recorder, 0x402078, neighbours_at + 4 * edge, 1)
                load(recorder, 0x40207F, contributions_at + 4 * v, 2)
                advance(recorder, 2)
                total += contributions[v]
            score = base + _DAMPING * total
            error += abs(score - scores[u])
            scores[u] = score
            contributions[u] = score / np.float32(max(end - begin, 1))
            load(recorder, 0x402098, scores_at + 4 * u, 3)
            store(recorder, scores_at + 4 * u, 6)
            store(recorder, contributions_at + 4 * u, 10)
            advance(recorder, 1)
        if error < _TOLERANCE:
            break
    return scores


def cc_arrays(v: int, e: int) -> dict[str, int]:
    """Bytes of each array of the program, as above."""
    return {"components": 4 * v, "neighbours": 4 * e, "offsets": 8 * (v + 1)}


@njit(nogil=True, cache=True)
def cc(graph, source, at, recorder):
    """Connected components by Afforest: component label i32[V]. No source needed.

    Sutton, Ben-Nun, Barak: Optimizing Parallel Graph Connectivity Computation via Subgraph
    Sampling, IPDPS 2018.
    """
    components_at, neighbours_at, offsets_at = at
    vertices = len(graph.offsets) - 1
    components = np.arange(vertices).astype(np.int32)
    for u in range(vertices):
        access(recorder.caches, components_at + 4 * u, True)
    for position in range(_SAMPLED_NEIGHBOURS):
        for u in range(vertices):
            if stopped(recorder):
                return components
            load(recorder, 0x403070, offsets_at + 8 * u, 1)
            load(recorder, 0x403074, offsets_at + 8 * (u + 1), 1)
            edge = graph.offsets[u] + position
            if edge < graph.offsets[u + 1]:
                advance(recorder, 8)
                load(recorder, 0x403093, neighbours_at + 4 * edge, 1)
                _link(components, u, graph.neighbours[edge], components_at, recorder)
            else:
                advance(recorder, 11)
        _compress(components, components_at, recorder)
    # Most vertices are in one component by now; the rest of its edges need no look.
    votes = np.zeros(vertices, np.int32)
    for sample in range(_SAMPLES):
        u = sample * 2654435761 % vertices
        load(recorder, 0x4031C4, components_at + 4 * u, 24)
        votes[components[u]] += 1
    largest = np.argmax(votes)
    for u in range(vertices):
        if stopped(recorder):
            return components
        load(recorder, 0x403220, components_at + 4 * u, 3)
        if components[u] == largest:
            continue
        load(recorder, 0x40322C, offsets_at + 8 * u, 3)
        load(recorder, 0x403230, offsets_at + 8 * (u + 1), 1)
        for edge in range(graph.offsets[u] + _SAMPLED_NEIGHBOURS, graph.offsets[u + 1]):
            load(recorder, 0x403248, neighbours_at + 4 * edge, 2)
            _link(components, u, graph.neighbours[edge], components_at, recorder)
    _compress(components, components_at, recorder)
    return components


@register_jitable
def _link(components, u, v, components_at, recorder):
    """Hangs the higher of the two roots under the lower label."""
    load(recorder, 0x4030E9, components_at + 4 * u, 7)
    load(recorder, 0x4030ED, components_at + 4 * v, 1)
    a, b = components[u], components[v]
    while a != b:
        high, low = max(a, b), min(a, b)
        load(recorder, 0x403124, components_at + 4 * high, 10)
        above = components[high]
        if above == high:
            components[high] = low
            store(recorder, components_at + 4 * high, 5)
        if above in (high, low):
            break
        a, b = components[above], components[low]
        load(recorder, 0x403130, components_at + 4 * high, 7)
        load(recorder, 0x403134, components_at + 4 * above, 1)
        load(recorder, 0x403138, components_at + 4 * low, 1)
        advance(recorder, 6)
    advance(recorder, 4)


@register_jitable
def _compress(components, components_at, recorder):
    """Makes every label a root."""
    for u in range(len(components)):
        load(recorder, 0x403180, components_at + 4 * u, 3)
        load(recorder, 0x403187, components_at + 4 * components[u], 2)
        while components[u] != components[components[u]]:
            components[u] = components[components[u]]
            store(recorder, components_at + 4 * u, 2)
            load(recorder, 0x403194, components_at + 4 * components[u], 3)
        advance(recorder, 2)
