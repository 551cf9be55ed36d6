"""Regression trees as flat arrays: small in files, quick for one row, safe to load.

Trees come from several libraries (`tree_learners.py`) and are predicted here, so prediction
needs none of them, and a file holds numbers alone, checked before any compiled code follows
them. One row through 300 trees takes about 20 us.

Nodes lie tree by tree and level by level, and the two children of a node are neighbours. A file
then needs no links: within a tree, the k-th node that is no leaf has the children 2k+1 and 2k+2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

LEAF = -1


class Nodes(NamedTuple):
    """One tree as libraries give it: links by index, in any order, root first."""

    left: np.ndarray  # i64[M]; rows with x[feature] <= threshold go there
    right: np.ndarray  # i64[M]
    feature: np.ndarray  # i64[M], LEAF for leaves
    threshold: np.ndarray  # f64[M]
    value: np.ndarray  # f64[M]


class Trees(NamedTuple):
    """y = base + sum of the leaves that a row ends in. M nodes in T trees."""

    feature: np.ndarray  # i16[M], LEAF for leaves
    number: np.ndarray  # f32[M]: threshold of a node, value of a leaf
    roots: np.ndarray  # i32[T]
    base: float
    child: np.ndarray  # i32[M]: the left one, the right one is next; follows from `feature`

    def predict(self, x: np.ndarray) -> np.ndarray:
        """f64[N] from x f64[N, F]. Features are compared as f32, as they were when fitting."""
        result = np.full(len(x), self.base)
        rows = np.ascontiguousarray(x, np.float32)
        _add_leaves(self.feature, self.number, self.child, self.roots, rows, result)
        return result


def flattened(trees: list[Nodes], base: float) -> Trees:
    """Trees that give what the libraries' give for every x of f32."""
    features, numbers, sizes = [], [], []
    for tree in trees:
        order = _level_order(tree.left, tree.right, tree.feature)
        is_leaf = tree.feature[order] == LEAF
        # Rounded down: no f32 lies between such a threshold and the one it stands for.
        threshold = tree.threshold[order].astype(np.float32)
        too_high = threshold > tree.threshold[order]
        threshold[too_high] = np.nextafter(threshold[too_high], np.float32(-np.inf))
        features.append(tree.feature[order].astype(np.int16))
        numbers.append(np.where(is_leaf, tree.value[order], threshold).astype(np.float32))
        sizes.append(len(order))
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return linked(np.concatenate(features), np.concatenate(numbers), roots, base)


def linked(feature: np.ndarray, number: np.ndarray, roots: np.ndarray, base: float) -> Trees:
    """Trees out of what a file holds. Raises ValueError unless every tree is complete."""
    nodes = len(feature)
    if (
        (feature.dtype, number.dtype, roots.dtype) != (np.int16, np.float32, np.int32)
        or number.shape != (nodes,)
        or feature.ndim != 1
        or roots.ndim != 1
        or len(roots) == 0
        or roots[0] != 0
    ):
        raise ValueError("trees: expected feature i16[M], number f32[M] and roots i32[T] from 0")
    sizes = np.diff(roots, append=nodes)
    if sizes.min() < 1 or feature.min() < LEAF or not np.isfinite(number).all():
        raise ValueError("trees: expected growing roots, features or -1, and finite numbers")
    tree = np.repeat(np.arange(len(roots)), sizes)
    inner = feature != LEAF
    before = np.cumsum(inner) - inner
    child = roots[tree] + 1 + 2 * (before - before[roots[tree]])
    inside = np.bincount(tree, inner, len(roots)).astype(np.int64)
    if np.any(sizes != 2 * inside + 1) or np.any(child[inner] <= np.flatnonzero(inner)):
        raise ValueError("trees: nodes and leaves do not add up to binary trees")
    return Trees(feature, number, roots, float(base), np.where(inner, child, 0).astype(np.int32))


@njit(cache=True)
def _add_leaves(
    feature: np.ndarray,
    number: np.ndarray,
    child: np.ndarray,
    roots: np.ndarray,
    x: np.ndarray,
    result: np.ndarray,
) -> None:
    for root in roots:  # the outer loop: a tree stays in the nearest cache for all rows
        for row in range(len(x)):
            node = root
            while feature[node] >= 0:
                node = child[node] + (x[row, feature[node]] > number[node])
            result[row] += number[node]


@njit(cache=True)
def _level_order(left: np.ndarray, right: np.ndarray, feature: np.ndarray) -> np.ndarray:
    order = np.zeros(len(feature), np.int64)
    filled = 1
    for position in range(len(feature)):
        node = order[position]
        if feature[node] >= 0:
            order[filled] = left[node]
            order[filled + 1] = right[node]
            filled += 2
    return order
