"""Random graphs in compressed sparse row form, as the GAP Benchmark Suite makes them.

Beamer, Asanović, Patterson: The GAP Benchmark Suite, arXiv 1508.03619, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

# R-MAT (Chakrabarti et al. 2004): chances of the quadrants (0,0), (0,1), (1,0), in 1/65536.
_RMAT_A, _RMAT_AB, _RMAT_ABC = (round(share * 65536) for share in (0.57, 0.76, 0.95))
_CHUNK_EDGES = 1 << 20


class Graph(NamedTuple):
    """An undirected graph; both directions of an edge are stored.

    Neighbours of vertex u are `neighbours[offsets[u]:offsets[u + 1]]`, sorted, without u itself
    and without duplicates.
    """

    offsets: np.ndarray  # i64[V + 1]
    neighbours: np.ndarray  # i32[E]
    weights: np.ndarray  # i32[E], 1..255 and equal in both directions; empty if unweighted

    @property
    def vertices(self) -> int:
        return len(self.offsets) - 1


def make_graph(
    kind: str, scale: int, degree: int, rng: np.random.Generator, weighted: bool = False
) -> Graph:
    """A graph of 2**scale vertices from `degree` * 2**scale random edges.

    `kind` "kron" draws R-MAT edges and renames the vertices at random; "uniform" draws both
    ends evenly. Edges that repeat or lead back to their start are dropped, so the average
    degree is a little under 2 * `degree`. The generator alone decides the graph.
    """
    if kind not in ("kron", "uniform"):
        raise ValueError(f"kind = {kind!r}: expected 'kron' or 'uniform'")
    vertices = 1 << scale
    edges = degree * vertices
    if kind == "kron":
        ends = np.empty((edges, 2), np.int32)
        for first in range(0, edges, _CHUNK_EDGES):
            chunk = ends[first : first + _CHUNK_EDGES]
            draws = rng.integers(0, 1 << 16, (len(chunk), scale), dtype=np.uint16)
            _rmat_edges(draws, chunk)
        ends = rng.permutation(vertices).astype(np.int32)[ends]
    else:
        ends = rng.integers(0, vertices, (edges, 2), dtype=np.int32)
    offsets, neighbours = _symmetric_rows(ends, vertices)
    weights = np.empty(0, np.int32)
    if weighted:
        weights = _edge_weights(offsets, neighbours, rng.integers(0, 1 << 64, dtype=np.uint64))
    return Graph(offsets, neighbours, weights)


@njit(nogil=True, cache=True)
def _rmat_edges(draws, ends):
    """One bit of both ends for every draw, highest bit first."""
    for edge in range(draws.shape[0]):
        u = v = 0
        for bit in range(draws.shape[1]):
            draw = draws[edge, bit]
            u = 2 * u + (draw >= _RMAT_AB)
            v = 2 * v + ((draw >= _RMAT_A) ^ (draw >= _RMAT_AB) ^ (draw >= _RMAT_ABC))
        ends[edge, 0] = u
        ends[edge, 1] = v


def _symmetric_rows(ends: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Both directions of all edges as sorted rows, without self loops and duplicates."""
    starts = np.zeros(vertices + 1, np.int64)
    np.cumsum(np.bincount(ends.ravel(), minlength=vertices), out=starts[1:])
    by_source = np.empty(starts[-1], np.int32)
    _scatter(ends, starts[:-1].copy(), by_source)
    # Visiting sources in order and appending each to its neighbours' rows sorts those rows.
    rows = np.empty_like(by_source)
    _transpose(starts, by_source, starts[:-1].copy(), rows)
    offsets = np.zeros(vertices + 1, np.int64)
    kept = _drop_loops_and_duplicates(starts, rows, offsets)
    return offsets, rows[:kept].copy()


@njit(nogil=True, cache=True)
def _scatter(ends, cursor, by_source):
    for edge in range(len(ends)):
        for side in range(2):
            u = ends[edge, side]
            by_source[cursor[u]] = ends[edge, 1 - side]
            cursor[u] += 1


@njit(nogil=True, cache=True)
def _transpose(starts, by_source, cursor, rows):
    for u in range(len(cursor)):
        for edge in range(starts[u], starts[u + 1]):
            v = by_source[edge]
            rows[cursor[v]] = u
            cursor[v] += 1


@njit(nogil=True, cache=True)
def _drop_loops_and_duplicates(starts, rows, offsets):
    """Closes the gaps in place; fills in `offsets` and returns how many entries are kept."""
    kept = 0
    for u in range(len(starts) - 1):
        last = u
        for edge in range(starts[u], starts[u + 1]):
            v = rows[edge]
            if v != last and v != u:
                last = v
                rows[kept] = v
                kept += 1
        offsets[u + 1] = kept
    return kept


@njit(nogil=True, cache=True)
def _edge_weights(offsets, neighbours, key):
    """A weight 1..255 hashed from the unordered pair of ends (finaliser of SplitMix64)."""
    weights = np.empty(len(neighbours), np.int32)
    for u in range(len(offsets) - 1):
        for edge in range(offsets[u], offsets[u + 1]):
            v = np.int64(neighbours[edge])
            low, high = (u, v) if u < v else (v, u)
            z = np.uint64(low << 32 | high) ^ key
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            weights[edge] = np.int64((z ^ (z >> np.uint64(31))) % np.uint64(255)) + 1
    return weights
