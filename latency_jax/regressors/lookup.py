"""A look-up table: a small grid of log latencies over a few features, interpolated between.

The axes are chosen one after the other, each the one that explains most of what is left. The
values at the nodes are those whose interpolation fits the training rows best while they bend
as little as they can, which also fills nodes that no row is near (lattice regression: Garcia,
Gupta, NIPS 2009).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from latency_jax.artifacts import from_npz, to_npz

AXES = 4
KNOTS = 10  # along an axis
_STIFFNESS = 1e-3  # of the bending, beside the squared error of each row


class LookupTable:
    """At most AXES axes of at most KNOTS knots, so at most 10^4 nodes."""

    def __init__(self) -> None:
        self._features = np.empty(0, np.int32)  # [A] which feature each axis is
        self._knots: list[np.ndarray] = []  # per axis f64[K]
        self._nodes = np.empty(0, np.float32)  # [K0 * K1 * ...], the last axis fastest

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None:
        knots = [_knots(column) for column in x.T]
        chosen = _chosen_axes(x, y, x_validation, y_validation, knots)
        self._features = np.array(chosen, np.int32)
        self._knots = [knots[feature] for feature in chosen]
        corners, weights = self._corners(x)
        size = int(np.prod(self._shape))
        rows = np.repeat(np.arange(len(x)), corners.shape[1])
        interpolation = sparse.csr_array(
            (weights.ravel(), (rows, corners.ravel())), shape=(len(x), size)
        )
        bending = _bending(self._shape)
        normal = (
            interpolation.T @ interpolation + _STIFFNESS * bending + 1e-9 * sparse.eye_array(size)
        )
        nodes, _ = cg(normal, interpolation.T @ (y - y.mean()), rtol=1e-6, maxiter=2000)
        self._nodes = (nodes + y.mean()).astype(np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        corners, weights = self._corners(x)
        return (self._nodes[corners] * weights).sum(axis=1)

    def to_files(self) -> dict[str, bytes]:
        arrays = {f"knots_{axis}": knots for axis, knots in enumerate(self._knots)}
        return {"table.npz": to_npz({"features": self._features, "nodes": self._nodes, **arrays})}

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        arrays = from_npz(files["table.npz"])
        axes, nodes = arrays["features"], arrays["nodes"]
        if axes.ndim != 1 or not 1 <= len(axes) <= AXES or axes.dtype != np.int32:
            raise ValueError(f"features are {axes!r}: expected i32[1..{AXES}]")
        if axes.min() < 0 or axes.max() >= features:
            raise ValueError(f"features are {axes!r}: expected less than {features}")
        knots = [arrays[f"knots_{axis}"] for axis in range(len(axes))]
        for one in knots:
            if (
                one.dtype != np.float64
                or one.ndim != 1
                or len(one) < 2
                or np.any(np.diff(one) <= 0)
            ):
                raise ValueError(f"knots are {one!r}: expected 2 or more growing f64")
        if nodes.dtype != np.float32 or nodes.shape != (np.prod([len(k) for k in knots]),):
            raise ValueError(
                f"nodes are {nodes.dtype}{list(nodes.shape)}: expected f32, one a node"
            )
        self._features, self._knots, self._nodes = axes, knots, nodes

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(knots) for knots in self._knots)

    def _corners(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The 2^A nodes around each row, i64[N, 2^A], and their weights f64[N, 2^A]."""
        corners = np.zeros((len(x), 1), np.int64)
        weights = np.ones((len(x), 1))
        for feature, knots in zip(self._features, self._knots):
            # Beyond the ends the table goes on as it does at the ends: np.interp clips.
            place = np.interp(x[:, feature], knots, np.arange(len(knots)))
            low = np.minimum(place.astype(np.int64), len(knots) - 2)
            high_weight = (place - low)[:, None]
            corners = corners * len(knots) + low[:, None]
            corners = np.concatenate([corners, corners + 1], axis=1)
            weights = np.concatenate([weights * (1 - high_weight), weights * high_weight], axis=1)
        return corners, weights


def _knots(column: np.ndarray) -> np.ndarray:
    levels = np.unique(column)
    if len(levels) <= KNOTS:
        return levels
    return np.unique(np.quantile(levels, np.linspace(0, 1, KNOTS)))


def _chosen_axes(
    x: np.ndarray,
    y: np.ndarray,
    x_validation: np.ndarray,
    y_validation: np.ndarray,
    knots: list[np.ndarray],
) -> list[int]:
    """Greedily, by the validation error of the mean of each cell of the grid."""
    bins = [np.searchsorted((k[1:] + k[:-1]) / 2, column) for k, column in zip(knots, x.T)]
    bins_validation = [
        np.searchsorted((k[1:] + k[:-1]) / 2, column) for k, column in zip(knots, x_validation.T)
    ]
    chosen: list[int] = []
    cell = np.zeros(len(x), np.int64)
    cell_validation = np.zeros(len(x_validation), np.int64)
    fallback = np.full(len(x_validation), y.mean())  # what fewer axes say, for empty cells
    best_error = np.inf
    while len(chosen) < AXES:
        best = None
        for feature in range(x.shape[1]):
            if feature in chosen:
                continue
            size = len(knots[feature])
            here, there = (
                cell * size + bins[feature],
                cell_validation * size + bins_validation[feature],
            )
            length = max(here.max(), there.max()) + 1
            count, total = np.bincount(here, minlength=length), np.bincount(here, y, length)
            means = np.where(count[there] > 0, total[there] / np.maximum(count[there], 1), fallback)
            error = np.abs(means - y_validation).mean()
            if error < best_error:
                best_error, best = error, (feature, here, there, means)
        if best is None:
            break
        feature, cell, cell_validation, fallback = best
        chosen.append(feature)
    return chosen or [0]


def _bending(shape: tuple[int, ...]) -> sparse.csr_array:
    """Sum over axes of the squared second differences, and a little of the first, as a matrix."""
    size = int(np.prod(shape))
    total = sparse.csr_array((size, size))
    for axis, knots in enumerate(shape):
        first = sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(knots - 1, knots))
        penalty = 0.01 * first.T @ first
        if knots > 2:
            second = sparse.diags_array(
                [1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(knots - 2, knots)
            )
            penalty = penalty + second.T @ second
        before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        whole = sparse.kron(sparse.kron(sparse.eye_array(before), penalty), sparse.eye_array(after))
        total = total + whole
    return sparse.csr_array(total)
