"""Regression trees as flat arrays: small in files, quick for one row, safe to load.

Trees come from several libraries (`tree_learners.py`) and are predicted here, so prediction
needs none of them, and a file holds numbers alone, checked before any compiled code follows
them.

Nodes lie tree by tree and level by level, and the two children of a node are neighbours. A file
then needs no links: within a tree, the k-th node that is no leaf has the children 2k+1 and 2k+2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

LEAF = -1
_BLOCK = 128  # rows that walk down together: their places stay in the nearest cache


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
    # What follows from these, for walking down: every row takes as many steps as its tree is
    # deep, and from a leaf each leads back to it. So no step waits for a branch to be guessed.
    asked: np.ndarray  # i32[M]: the feature; any one for leaves
    threshold: np.ndarray  # f32[M]; infinity for leaves
    child: np.ndarray  # i32[M]: the left one, the right one is next; leaves are their own
    depth: np.ndarray  # i32[T]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """f64[N] from x f64[N, F]. Features are compared as f32, as they were when fitting."""
        result = np.full(len(x), self.base)
        columns = np.ascontiguousarray(x.T, np.float32)
        walk = self.asked, self.threshold, self.child, self.roots, self.depth
        _add_leaves(*walk, self.number, columns, result)
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
    asked = np.maximum(feature, 0).astype(np.int32)
    threshold = np.where(inner, number, np.float32(np.inf))
    child = np.where(inner, child, np.arange(nodes)).astype(np.int32)
    depth = _depths(child, roots)
    return Trees(feature, number, roots, float(base), asked, threshold, child, depth)


@njit(cache=True)
def _add_leaves(
    asked: np.ndarray,
    threshold: np.ndarray,
    child: np.ndarray,
    roots: np.ndarray,
    depth: np.ndarray,
    value: np.ndarray,
    x: np.ndarray,
    result: np.ndarray,
) -> None:
    place = np.empty(_BLOCK, np.int32)
    for start in range(0, len(result), _BLOCK):
        rows = min(_BLOCK, len(result) - start)
        for tree in range(len(roots)):
            place[:rows] = roots[tree]
            for _ in range(depth[tree]):
                for row in range(rows):  # that do not wait for each other
                    node = place[row]
                    is_right = x[asked[node], start + row] > threshold[node]
                    place[row] = child[node] + is_right
            for row in range(rows):
                result[start + row] += value[place[row]]


@njit(cache=True)
def _depths(child: np.ndarray, roots: np.ndarray) -> np.ndarray:
    level = np.zeros(len(child), np.int32)
    depth = np.zeros(len(roots), np.int32)
    tree = -1
    for node in range(len(child)):
        if tree + 1 < len(roots) and roots[tree + 1] == node:
            tree += 1
        depth[tree] = max(depth[tree], level[node])
        if child[node] != node:
            level[child[node]] = level[node] + 1
            level[child[node] + 1] = level[node] + 1
    return depth


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
