"""Nearest neighbours and support vectors, on standardised features.

scikit-learn finds the support vectors; prediction is ours, from the arrays: it has less to do
before the first row, it does not depend on a version, and a file needs no object.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from latency_jax.artifacts import from_npz, to_npz

NEIGHBOURS = 5
SVR_ROWS = 4000  # training rows that support vectors are looked for in: time grows as the square
_CHUNK = 1024  # rows predicted at once


class NearestNeighbours:
    """The mean of the 5 nearest training rows, weighted by the inverse of their distance."""

    def __init__(self) -> None:
        self._points = np.empty((0, 0), np.float32)
        self._values = np.empty(0, np.float32)
        self._tree: cKDTree | None = None

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None:
        self._remember(x.astype(np.float32), y.astype(np.float32))

    def predict(self, x: np.ndarray) -> np.ndarray:
        assert self._tree is not None
        distance, row = self._tree.query(x, k=min(NEIGHBOURS, len(self._values)))
        distance, row = distance.reshape(len(x), -1), row.reshape(len(x), -1)
        weight = 1 / (distance + 1e-6)  # a row met again has all the weight
        return (weight * self._values[row]).sum(axis=1) / weight.sum(axis=1)

    def to_files(self) -> dict[str, bytes]:
        return {"neighbours.npz": to_npz({"points": self._points, "values": self._values})}

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        arrays = from_npz(files["neighbours.npz"])
        points, values = arrays["points"], arrays["values"]
        _check_floats("points", points, (len(points), features), np.float32)
        _check_floats("values", values, (len(points),), np.float32)
        if len(points) == 0:
            raise ValueError("points: none, expected at least one")
        self._remember(points, values)

    def _remember(self, points: np.ndarray, values: np.ndarray) -> None:
        self._points, self._values = points, values
        self._tree = cKDTree(points)


class SupportVectors:
    """ε-SVR with a Gaussian kernel, on at most SVR_ROWS training rows drawn by the seed."""

    def __init__(self, cost: float = 10.0, epsilon: float = 0.02, width: float = 0.5) -> None:
        self.cost = cost
        self.epsilon = epsilon
        self.width = width  # of gamma: this over the number of features
        self._vectors = np.empty((0, 0), np.float32)
        self._weights = np.empty(0, np.float32)
        self._bias = 0.0
        self._gamma = 1.0

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None:
        rows = np.random.default_rng(seed).permutation(len(x))[:SVR_ROWS]
        gamma = self.width / x.shape[1]
        from sklearn.svm import SVR  # takes a second, and a prediction needs none of it

        model = SVR(C=self.cost, epsilon=self.epsilon, gamma=gamma, cache_size=500)
        model.fit(x[rows], y[rows])
        self._vectors = model.support_vectors_.astype(np.float32)
        self._weights = model.dual_coef_[0].astype(np.float32)
        self._bias = float(model.intercept_[0])
        self._gamma = gamma

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float32)
        squares = np.square(self._vectors).sum(axis=1)
        result = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            part = x[start : start + _CHUNK]
            kernel = part @ self._vectors.T
            kernel *= -2
            kernel += squares
            kernel += np.square(part).sum(axis=1)[:, None]
            np.maximum(kernel, 0, out=kernel)
            kernel *= np.float32(-self._gamma)
            np.exp(kernel, out=kernel)
            result[start : start + _CHUNK] = kernel @ self._weights
        return result + self._bias

    def to_files(self) -> dict[str, bytes]:
        scalars = {"bias": np.array(self._bias), "gamma": np.array(self._gamma)}
        arrays = {"vectors": self._vectors, "weights": self._weights, **scalars}
        return {"support_vectors.npz": to_npz(arrays)}

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        arrays = from_npz(files["support_vectors.npz"])
        vectors, weights = arrays["vectors"], arrays["weights"]
        _check_floats("vectors", vectors, (len(vectors), features), np.float32)
        _check_floats("weights", weights, (len(vectors),), np.float32)
        for name in ("bias", "gamma"):
            _check_floats(name, arrays[name], (), np.float64)
        self._vectors, self._weights = vectors, weights
        self._bias, self._gamma = float(arrays["bias"]), float(arrays["gamma"])


def _check_floats(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(
            f"{name} are {array.dtype}{list(array.shape)}: expected finite {dtype.__name__}"
            f"{list(shape)}"
        )
