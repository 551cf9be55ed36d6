"""Betweenness centrality by Brandes, recorded as `kernels.py` explains.

Brandes: A Faster Algorithm for Betweenness Centrality, J. Math. Sociology 2001.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import register_jitable

from packd_jax.traces.cache import access
from packd_jax.traces.recorder import advance, copy, load, stopped, store

_BUFFER = 16384  # vertices that a queue buffers before it copies them to its shared array


def bc_arrays(v: int, e: int) -> dict[str, int]:
    """Bytes of each array of the program, for v vertices and e stored edges, in heap order."""
    return {
        "scores": 4 * v,
        "depth": 4 * v,
        "paths": 8 * v,
        "deltas": 4 * v,
        "successors": (e + 63) // 64 * 8,
        "queue": 4 * v,
        "buffer": 4 * _BUFFER,
        "neighbours": 4 * e,
        "offsets": 8 * (v + 1),
    }


@njit(nogil=True, cache=True)
def bc(graph, source, at, recorder):
    """Betweenness of every vertex for shortest paths from `source`: dependencies f32[V].

    They are not normalised; half their sum over all sources is the betweenness.
    """
    scores_at, depth_at, paths_at, deltas_at = at[:4]
    vertices = len(graph.offsets) - 1
    scores = np.zeros(vertices, np.float32)
    deltas = np.zeros(vertices, np.float32)
    depth = np.full(vertices, -1, np.int32)
    paths = np.zeros(vertices, np.float64)
    for u in range(vertices):
        access(recorder.caches, scores_at + 4 * u, True)
        access(recorder.caches, depth_at + 4 * u, True)
        access(recorder.caches, paths_at + 8 * u, True)
    depth[source], paths[source] = 0, 1
    successor = np.zeros(len(graph.neighbours), np.bool_)
    queue = np.empty(vertices, np.int32)
    queue[0] = source
    levels = np.zeros(vertices + 2, np.int64)  # where each depth begins in the queue
    last, levels[1] = 0, 1
    while levels[last] < levels[last + 1] and not stopped(recorder):
        levels[last + 2] = _count_paths(
            graph, depth, paths, successor, queue, levels[last], levels[last + 1], at, recorder
        )
        last += 1
    for u in range(vertices):
        access(recorder.caches, deltas_at + 4 * u, True)
    for level in range(last - 2, -1, -1):
        for i in range(levels[level], levels[level + 1]):
            if stopped(recorder):
                return scores
            u = queue[i]
            deltas[u] = _dependency(graph, u, i, paths, deltas, successor, at, recorder)
            if u != source:
                scores[u] += deltas[u]
            store(recorder, deltas_at + 4 * u, 2)
            load(recorder, 0x404298, scores_at + 4 * u, 1)
            store(recorder, scores_at + 4 * u, 2)
    return scores


@register_jitable
def _count_paths(graph, depth, paths, successor, queue, begin, end, at, recorder):
    """Counts shortest paths one level further and marks its edges; returns the queue's new end."""
    _, depth_at, paths_at, _, successors_at, queue_at, buffer_at, neighbours_at, offsets_at = at
    copied = grown = end
    for i in range(begin, end):
        if stopped(recorder):
            break
        u = queue[i]
        load(recorder, 0x404040, queue_at + 4 * i, 1)
        load(recorder, 0x40404E, offsets_at + 8 * u, 4)
        load(recorder, 0x404052, offsets_at + 8 * (u + 1), 1)
        advance(recorder, 3)
        for edge in range(graph.offsets[u], graph.offsets[u + 1]):
            v = graph.neighbours[edge]
            load(recorder, 0x404068, neighbours_at + 4 * edge, 1)
            load(recorder, 0x404074, depth_at + 4 * v, 3)
            if depth[v] < 0:
                depth[v] = depth[u] + 1
                queue[grown] = v
                store(recorder, depth_at + 4 * v, 3)
                store(recorder, buffer_at + 4 * (grown - copied), 7)
                grown += 1
                if grown - copied == _BUFFER:
                    copy(recorder, buffer_at, queue_at + 4 * copied, 4 * _BUFFER)
                    copied = grown
                load(recorder, 0x4040A4, depth_at + 4 * v, 2)
            advance(recorder, 2)
            if depth[v] == depth[u] + 1:
                successor[edge] = True
                paths[v] += paths[u]
                load(recorder, 0x4040C0, successors_at + edge // 64 * 8, 5)
                store(recorder, successors_at + edge // 64 * 8, 2)
                load(recorder, 0x4040D4, paths_at + 8 * u, 1)
                load(recorder, 0x4040D9, paths_at + 8 * v, 1)
                store(recorder, paths_at + 8 * v, 1)
            advance(recorder, 2)
        advance(recorder, 4)
    copy(recorder, buffer_at, queue_at + 4 * copied, 4 * (grown - copied))
    return grown


@register_jitable
def _dependency(graph, u, i, paths, deltas, successor, at, recorder):
    """Sums what the successors of u = queue[i] depend on it."""
    _, _, paths_at, deltas_at, successors_at, queue_at, _, neighbours_at, offsets_at = at
    load(recorder, 0x404200, queue_at + 4 * i, 1)
    load(recorder, 0x40420C, offsets_at + 8 * u, 4)
    load(recorder, 0x404210, offsets_at + 8 * (u + 1), 1)
    advance(recorder, 3)
    delta = np.float32(0)
    for edge in range(graph.offsets[u], graph.offsets[u + 1]):
        load(recorder, 0x404230, successors_at + edge // 64 * 8, 4)
        if successor[edge]:
            v = graph.neighbours[edge]
            delta += np.float32(paths[u] / paths[v]) * (np.float32(1) + deltas[v])
            load(recorder, 0x404240, neighbours_at + 4 * edge, 3)
            load(recorder, 0x404248, paths_at + 8 * u, 1)
            load(recorder, 0x404250, paths_at + 8 * v, 1)
            load(recorder, 0x40425C, deltas_at + 4 * v, 2)
            advance(recorder, 4)
        advance(recorder, 4)
    return delta
