"""Ridge regression on features, or on features and their pairwise products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_jax.artifacts import from_npz, to_npz

PENALTIES = 10.0 ** np.arange(-8, 2)  # per row, that validation chooses from
_CHUNK = 4096  # rows whose products are held at once


class Ridge:
    """y = bias + weights · φ(x), with φ(x) = x or, of degree 2, x and all products x_i x_j.

    The penalty is the one of PENALTIES with the smallest mean absolute validation error.
    """

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self._weights = np.empty(0)
        self._bias = 0.0

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None:
        # Products of standardised features are not of mean 0 themselves: centre φ.
        chunks = [slice(i, i + _CHUNK) for i in range(0, len(x), _CHUNK)]
        mean = np.sum([self._expand(x[c]).sum(axis=0) for c in chunks], axis=0) / len(x)
        gram = np.zeros((len(mean), len(mean)))
        moment = np.zeros(len(mean))
        for c in chunks:
            centred = self._expand(x[c]) - mean
            gram += centred.T @ centred
            moment += centred.T @ (y[c] - y.mean())
        values, vectors = np.linalg.eigh(gram / len(x))
        rotated = vectors.T @ (moment / len(x))
        validation = self._expand(x_validation) - mean
        best = np.inf
        for penalty in PENALTIES:
            weights = vectors @ (rotated / (np.maximum(values, 0) + penalty))
            error = np.abs(y.mean() + validation @ weights - y_validation).mean()
            if error < best:
                best, self._weights = error, weights
        self._bias = float(y.mean() - mean @ self._weights)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._expand(x) @ self._weights + self._bias

    def to_files(self) -> dict[str, bytes]:
        return {"ridge.npz": to_npz({"weights": self._weights, "bias": np.array(self._bias)})}

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        arrays = from_npz(files["ridge.npz"])
        expected = self._expand(np.zeros((1, features))).shape[1]
        weights, bias = arrays["weights"], arrays["bias"]
        if weights.shape != (expected,) or bias.shape != () or weights.dtype != np.float64:
            raise ValueError(
                f"weights {weights.shape}, bias {bias.shape}: expected ({expected},), ()"
            )
        self._weights, self._bias = weights, float(bias)

    def _expand(self, x: np.ndarray) -> np.ndarray:
        if self.degree == 1:
            return x
        first, second = np.triu_indices(x.shape[1])
        return np.concatenate([x, x[:, first] * x[:, second]], axis=1)
