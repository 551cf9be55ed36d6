"""Gaussian processes for tens of rows: a bias, slopes and a smooth rest, each as large as needed.

    cov(y, y') = bias² + slope² x·x' + rest² exp(-|x - x'|² / (2 length² F)) + noise² [x = x']

Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5. Ten rows
do not say how large these five scales are, so each has a log-normal prior, and the scales are
those of the largest posterior. Priors are for corrections of log seconds, of standardised x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

SCALE_ROWS = 200  # of more rows the first so many say how large scales are
_JITTER = 1e-6
_ITERATIONS = 40
_REACH = 3.0  # deviations of the prior, beyond which no scale is looked for


class Prior(NamedTuple):
    """Of the logarithms of bias, slope, rest, length and noise; of deviation 0: fixed."""

    centre: tuple[float, ...]
    deviation: tuple[float, ...]


_NONE = float(np.log(1e-6))
_BIAS, _SLOPE, _REST, _LENGTH, _NOISE = np.log([0.15, 0.03, 0.15, 2.5, 0.12]).tolist()
SMOOTH = Prior((_BIAS, _SLOPE, _REST, _LENGTH, _NOISE), (1.0, 1.0, 0.7, 0.5, 0.7))
LINEAR = Prior((_BIAS, _SLOPE, _NONE, _LENGTH, _NOISE), (1.0, 1.0, 0.0, 0.0, 0.7))
BIAS = Prior((_BIAS, _NONE, _NONE, _LENGTH, _NOISE), (1.0, 0.0, 0.0, 0.0, 0.7))


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """What `fit` found."""

    x: np.ndarray  # f64[N, F]
    weights: np.ndarray  # f64[N]
    scales: np.ndarray  # f64[5], logarithms
    loss: float  # -log of the posterior, less a constant: smaller is the better explanation

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The mean f64[M] at x f64[M, F]."""
        return _covariance(self.scales, x, self.x) @ self.weights


def fit(x: np.ndarray, y: np.ndarray, prior: Prior = SMOOTH) -> GaussianProcess:
    """From x f64[N, F] and y f64[N]. Raises ValueError for other shapes, and for no row."""
    if x.ndim != 2 or len(x) == 0 or y.shape != x.shape[:1]:
        raise ValueError(f"x {x.shape}, y {y.shape}: expected [N, F] and [N], N of at least 1")
    centre, deviation = np.array(prior.centre), np.array(prior.deviation)
    free = deviation > 0
    few = slice(SCALE_ROWS)

    def loss(of_free: np.ndarray) -> float:
        scales = centre.copy()
        scales[free] = of_free
        factor = _factor(scales, x[few])
        if factor is None:
            return 1e12
        explained = 0.5 * y[few] @ cho_solve(factor, y[few]) + np.log(np.diag(factor[0])).sum()
        penalty = 0.5 * np.square((of_free - centre[free]) / deviation[free]).sum()
        return float(explained + penalty)

    reach = _REACH * deviation[free]
    scales = centre.copy()
    if free.any():
        bounds = list(zip(centre[free] - reach, centre[free] + reach))
        limit = {"maxiter": _ITERATIONS}
        found = minimize(loss, centre[free], method="L-BFGS-B", bounds=bounds, options=limit)
        scales[free] = found.x
    factor = _factor(scales, x)
    if factor is None:  # rows that are nearly each other; what the prior says is always well posed
        scales, factor = centre, _factor(centre, x)
    assert factor is not None
    return GaussianProcess(x, cho_solve(factor, y), scales, loss(scales[free]))


def _factor(scales: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, bool] | None:
    noise = np.exp(2 * scales[4]) + _JITTER
    try:
        return cho_factor(_covariance(scales, x, x) + noise * np.eye(len(x)), lower=True)
    except LinAlgError:
        return None


def _covariance(scales: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f64[M, N] of a f64[M, F] and b f64[N, F], without the noise."""
    bias, slope, rest, length, _ = np.exp(scales)
    products = a @ b.T
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * products
    near = np.exp(-np.maximum(squares, 0) / (2 * length**2 * max(1, a.shape[1])))
    return bias**2 + slope**2 * products + rest**2 * near
