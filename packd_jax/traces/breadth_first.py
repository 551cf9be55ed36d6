"""Direction-optimising breadth-first search, recorded as `kernels.py` explains."""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import register_jitable

from packd_jax.traces.cache import access
from packd_jax.traces.recorder import advance, copy, load, stopped, store

_ALPHA, _BETA = 15, 18  # bfs: when to turn bottom-up, when to turn back
_BUFFER = 16384  # vertices that a queue buffers before it copies them to its shared array


def bfs_arrays(v: int, e: int) -> dict[str, int]:
    """Bytes of each array of the program, for v vertices and e stored edges, in heap order."""
    return {
        "parent": 4 * v,
        "queue": 4 * v,
        "buffer": 4 * _BUFFER,
        "front": (v + 63) // 64 * 8,
        "next": (v + 63) // 64 * 8,
        "neighbours": 4 * e,
        "offsets": 8 * (v + 1),
    }


@njit(nogil=True, cache=True)
def bfs(graph, source, at, recorder):
    """Direction-optimising breadth-first search from `source`.

    Returns parent i32[V]: `source` its own, negative where not reached.
    """
    parent_at, queue_at, buffer_at, front_at, next_at, _, offsets_at = at
    vertices = len(graph.offsets) - 1
    parent = np.empty(vertices, np.int32)
    for u in range(vertices):
        access(recorder.caches, offsets_at + 8 * (u + 1), False)
        access(recorder.caches, parent_at + 4 * u, True)
        parent[u] = -max(graph.offsets[u + 1] - graph.offsets[u], 1)
    unexplored_edges = graph.offsets[vertices]
    frontier_edges = graph.offsets[source + 1] - graph.offsets[source]
    parent[source] = source
    queue = np.empty(vertices, np.int32)
    queue[0] = source
    begin, end = 0, 1
    while begin < end and not stopped(recorder):
        if frontier_edges > unexplored_edges // _ALPHA:
            front = np.zeros(vertices, np.bool_)
            for i in range(begin, end):
                load(recorder, 0x401288, queue_at + 4 * i, 5)
                load(recorder, 0x401298, front_at + queue[i] // 64 * 8, 4)
                store(recorder, front_at + queue[i] // 64 * 8, 2)
                front[queue[i]] = True
            awake, before = end - begin, 0
            while (awake >= before or awake > vertices // _BETA) and not stopped(recorder):
                before = awake
                awake, front = _bottom_up(graph, parent, front, front_at, next_at, at, recorder)
                front_at, next_at = next_at, front_at
            begin = end
            for u in range(vertices):
                load(recorder, 0x4012C8, front_at + u // 64 * 8, 6)
                if front[u]:
                    store(recorder, buffer_at + 4 * ((end - begin) % _BUFFER), 4)
                    queue[end] = u
                    end += 1
                    if (end - begin) % _BUFFER == 0:
                        copy(recorder, buffer_at, queue_at + 4 * (end - _BUFFER), 4 * _BUFFER)
            rest = (end - begin) % _BUFFER
            copy(recorder, buffer_at, queue_at + 4 * (end - rest), 4 * rest)
            frontier_edges = 1
        else:
            unexplored_edges -= frontier_edges
            frontier_edges, grown = _top_down(graph, parent, queue, begin, end, at, recorder)
            begin, end = end, grown
    return parent


@register_jitable
def _top_down(graph, parent, queue, begin, end, at, recorder):
    """Visits the neighbours of queue[begin:end]; returns their edges and the queue's new end."""
    parent_at, queue_at, buffer_at, _, _, neighbours_at, offsets_at = at
    frontier_edges, copied, grown = 0, end, end
    for i in range(begin, end):
        if stopped(recorder):
            break
        u = queue[i]
        load(recorder, 0x401040, queue_at + 4 * i, 1)
        load(recorder, 0x40104E, offsets_at + 8 * u, 4)
        load(recorder, 0x401052, offsets_at + 8 * (u + 1), 1)
        advance(recorder, 2)
        for edge in range(graph.offsets[u], graph.offsets[u + 1]):
            v = graph.neighbours[edge]
            load(recorder, 0x401069, neighbours_at + 4 * edge, 1)
            load(recorder, 0x401076, parent_at + 4 * v, 4)
            if parent[v] < 0:
                frontier_edges -= parent[v]
                parent[v] = u
                queue[grown] = v
                store(recorder, parent_at + 4 * v, 3)
                store(recorder, buffer_at + 4 * (grown - copied), 7)
                grown += 1
                if grown - copied == _BUFFER:
                    copy(recorder, buffer_at, queue_at + 4 * copied, 4 * _BUFFER)
                    copied = grown
                advance(recorder, 4)
            else:
                advance(recorder, 5)
        advance(recorder, 5)
    copy(recorder, buffer_at, queue_at + 4 * copied, 4 * (grown - copied))
    return frontier_edges, grown


@register_jitable
def _bottom_up(graph, parent, front, front_at, next_at, at, recorder):
    """Lets every vertex without a parent look for one in `front`; returns (how many, which)."""
    parent_at, neighbours_at, offsets_at = at[0], at[5], at[6]
    vertices = len(parent)
    awake = 0
    found = np.zeros(vertices, np.bool_)
    for word in range(0, vertices, 256):
        store(recorder, next_at + word // 8, 1)
    for u in range(vertices):
        if stopped(recorder):
            break
        load(recorder, 0x401156, parent_at + 4 * u, 1)
        if parent[u] >= 0:
            advance(recorder, 6)
            continue
        load(recorder, 0x401162, offsets_at + 8 * u, 4)
        load(recorder, 0x401166, offsets_at + 8 * (u + 1), 1)
        advance(recorder, 4)
        for edge in range(graph.offsets[u], graph.offsets[u + 1]):
            v = graph.neighbours[edge]
            load(recorder, 0x401181, neighbours_at + 4 * edge, 1)
            load(recorder, 0x40118B, front_at + v // 64 * 8, 3)
            if front[v]:
                parent[u] = v
                found[u] = True
                awake += 1
                store(recorder, parent_at + 4 * u, 4)
                load(recorder, 0x4011A8, next_at + u // 64 * 8, 3)
                store(recorder, next_at + u // 64 * 8, 2)
                break
            advance(recorder, 8)
        advance(recorder, 4)
    return awake, found
