"""Single-source shortest paths by delta-stepping, recorded as `kernels.py` explains.

Meyer, Sanders: Delta-stepping: a parallelizable shortest path algorithm, J. Algorithms 2003.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import register_jitable

from packd_jax.traces.cache import access
from packd_jax.traces.recorder import advance, copy, load, stopped, store

UNREACHED = np.int32(2**30)
_WIDTH = 2  # distances that share a bucket
_BUCKETS = 255 // _WIDTH + 2  # at most so many hold vertices at once


def sssp_arrays(v: int, e: int) -> dict[str, int]:
    """Bytes of each array of the program, for v vertices and e stored edges, in heap order."""
    return {
        "distance": 4 * v,
        "weighted_neighbours": 8 * e,
        "offsets": 8 * (v + 1),
        "frontier": 4 * (_WIDTH * e + 1),
        "bucket_headers": 24 * _BUCKETS,
        "buckets": 4 * _bucket_entries(e),
    }


@register_jitable
def _bucket_entries(edges):
    """Entries that growing buckets can ever take.

    A vertex leaves a bucket with at most _WIDTH distances, so edges push _WIDTH * edges times at
    most; the sizes that a doubling vector had sum to less than four times its contents.
    """
    return 4 * _WIDTH * edges + 4


@njit(nogil=True, cache=True)
def sssp(graph, source, at, recorder):
    """Distances from `source`, i32[V], UNREACHED where no path leads; the graph is weighted."""
    distance_at, weighted_at, offsets_at, frontier_at, headers_at, buckets_at = at
    vertices = len(graph.offsets) - 1
    distance = np.full(vertices, UNREACHED, np.int32)
    for u in range(vertices):
        access(recorder.caches, distance_at + 4 * u, True)
    distance[source] = 0
    # Vectors in one pool, as an allocator that never reuses would place them. Distances in use
    # span less than the longest weight, so buckets go round.
    pool = np.empty(_bucket_entries(len(graph.neighbours)), np.int32)
    vectors = np.zeros((_BUCKETS, 3), np.int64)  # first pool entry, vertices, capacity
    taken = 0
    frontier = np.empty(len(graph.neighbours) * _WIDTH + 1, np.int32)
    frontier[0], size, bucket = source, 1, 0
    while size > 0:
        for i in range(size):
            if stopped(recorder):
                return distance
            u = frontier[i]
            load(recorder, 0x405293, frontier_at + 4 * i, 6)
            load(recorder, 0x40529E, distance_at + 4 * u, 3)
            advance(recorder, 3)
            if distance[u] < _WIDTH * bucket:
                continue  # an earlier bucket has done it
            load(recorder, 0x405000, offsets_at + 8 * u, 6)
            load(recorder, 0x405004, offsets_at + 8 * (u + 1), 1)
            advance(recorder, 5)
            for edge in range(graph.offsets[u], graph.offsets[u + 1]):
                v = graph.neighbours[edge]
                load(recorder, 0x405024, weighted_at + 8 * edge, 1)
                load(recorder, 0x405028, weighted_at + 8 * edge + 4, 2)
                load(recorder, 0x405041, distance_at + 4 * u, 6)
                load(recorder, 0x405045, distance_at + 4 * v, 1)
                through_u = distance[u] + graph.weights[edge]
                if through_u < distance[v]:
                    distance[v] = through_u
                    store(recorder, distance_at + 4 * v, 4)
                    place = through_u // _WIDTH % _BUCKETS
                    taken = _push(pool, vectors, taken, place, v, headers_at, buckets_at, recorder)
                    advance(recorder, 6)
                advance(recorder, 4)
            advance(recorder, 4)
        size = 0
        for step in range(_BUCKETS):
            place = (bucket + step) % _BUCKETS
            load(recorder, 0x405320, headers_at + 24 * place, 3)
            size = vectors[place, 1]
            if size > 0:
                bucket += step
                first = vectors[place, 0]
                for i in range(size):
                    frontier[i] = pool[first + i]
                copy(recorder, buckets_at + 4 * first, frontier_at, 4 * size)
                vectors[place, 1] = 0
                break
    return distance


@register_jitable
def _push(pool, vectors, taken, place, v, headers_at, buckets_at, recorder):
    """Appends v to a vector, which doubles when full; returns how much of the pool is taken."""
    first, size, capacity = vectors[place, 0], vectors[place, 1], vectors[place, 2]
    load(recorder, 0x405078, headers_at + 24 * place + 8, 5)
    load(recorder, 0x40507C, headers_at + 24 * place + 16, 1)
    if size == capacity:
        for i in range(size):
            pool[taken + i] = pool[first + i]
        advance(recorder, 60)  # the allocator
        copy(recorder, buckets_at + 4 * first, buckets_at + 4 * taken, 4 * size)
        first, capacity = taken, max(2 * capacity, 1)
        vectors[place, 0], vectors[place, 2] = first, capacity
        taken += capacity
    pool[first + size] = v
    vectors[place, 1] = size + 1
    store(recorder, buckets_at + 4 * (first + size), 3)
    store(recorder, headers_at + 24 * place + 8, 2)
    return taken
