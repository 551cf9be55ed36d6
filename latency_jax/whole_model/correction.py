"""What whole models take beside their modules, fitted on other whole models.

    seconds = sum over calls of a * (its latency) + b * (its fused bytes)
                                + c * min(its weight bytes, cache) + d * (its runs)

Modules that are timed alone find their weights and inputs in the caches (b, c), and the calls of a
whole model start one after another (d); a says what is left. What is larger than the cache was
read from the memory alone, too, so it costs no more. Five numbers, drawn to those of a usual CPU,
because whole models are few; errors of log seconds count as they are, not squared, because some
models are beyond any such sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from latency_jax.intervals import Interval
from latency_jax.whole_model.fusion import FusedCall

TERMS = ("calls_s", "fused_bytes", "weight_bytes", "calls")
CACHES = tuple(float(2**n) for n in range(18, 24))  # bytes, of which one is chosen
_USUAL = np.array([1.0, 1e-11, 1e-10, 3e-7])  # 1, s per byte, s per byte, s
_DRAWN = np.array([1.0, 0.15, 0.15, 0.15])  # to it: of the factor, a model; of the rest, a little
_FAR = 20.0  # of a log coefficient from the usual, at most
_SMOOTH = 0.14  # errors of log seconds below it count squared


@dataclass(frozen=True)
class Correction:
    """Coefficients of TERMS (1, s per byte, s per byte, s), and how far off they leave models."""

    coefficients: tuple[float, ...]
    cache_bytes: float  # what counts at most of the weights of a call
    interval: Interval  # of models that the coefficients were not fitted to

    def apply(self, terms: np.ndarray) -> np.ndarray:
        """Seconds f64[N] of the terms f64[N, 4] of N calls."""
        return _capped(terms, self.cache_bytes) @ np.array(self.coefficients)

    def to_json(self) -> dict[str, Any]:
        """What `LatencyModel.correction` holds."""
        coefficients = dict(zip(TERMS, self.coefficients))
        return {
            "coefficients": coefficients,
            "cache_bytes": self.cache_bytes,
            "interval": self.interval.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Correction:
        """Raises ValueError for what `to_json` did not write."""
        try:
            coefficients = tuple(float(values["coefficients"][name]) for name in TERMS)
            cache_bytes = float(values["cache_bytes"])
            interval = Interval.from_json(values["interval"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a whole-model correction: {error!r}") from error
        if not all(np.isfinite(coefficients)) or min(coefficients) < 0 or not any(coefficients):
            raise ValueError(f"coefficients are {coefficients}: expected finite ones, 0 or more")
        if not cache_bytes > 0:
            raise ValueError(f"cache_bytes is {cache_bytes}: expected more than 0")
        return cls(coefficients, cache_bytes, interval)


class CorrectionFit(NamedTuple):
    """A correction, and what it says of each model when that model is left out of the fit."""

    correction: Correction
    left_out_s: np.ndarray  # f64[N]


def call_terms(calls: Sequence[FusedCall], latency_s: np.ndarray) -> np.ndarray:
    """TERMS f64[N, 4] of calls that take `latency_s` f64[N], each with all its runs."""
    rows = [(call.fused_bytes * call.runs, call.weight_bytes, call.runs) for call in calls]
    return np.column_stack([latency_s, np.array(rows, np.float64).reshape(len(calls), 3)])


def fit_correction(
    models: Sequence[str], calls: Sequence[np.ndarray], measured_s: np.ndarray
) -> CorrectionFit:
    """Fits to N measured runs of two or more models; runs of one model share its name.

    `calls` are the `call_terms` f64[C, 4] of each run, `measured_s` f64[N]. Raises ValueError for
    arrays of other shapes and for fewer models.
    """
    names = np.array(models)
    shapes = {np.shape(terms)[1:] for terms in calls}
    if shapes != {(len(TERMS),)} or not len(names) == len(calls) == len(measured_s):
        raise ValueError(
            f"{len(names)} names, calls of {len(calls)} runs with terms {sorted(shapes)}, "
            f"{len(measured_s)} measured: expected N, N of [C, {len(TERMS)}], N"
        )
    if len(set(models)) < 2:
        raise ValueError(
            f"models are {sorted(set(models))}: expected at least two to leave one out"
        )
    left_out_s = np.empty(len(names))
    for name in set(models):
        out = names == name
        others = [terms for terms, is_out in zip(calls, out) if not is_out]
        coefficients, cache = _fit(others, measured_s[~out])
        for i in np.flatnonzero(out).tolist():
            left_out_s[i] = (_capped(calls[i], cache) @ coefficients).sum()
    interval = Interval.fit(measured_s, left_out_s)
    coefficients, cache = _fit(calls, measured_s)
    return CorrectionFit(Correction(tuple(map(float, coefficients)), cache, interval), left_out_s)


def _capped(terms: np.ndarray, cache_bytes: float) -> np.ndarray:
    capped = terms.copy()
    capped[:, 2] = np.minimum(capped[:, 2], cache_bytes)
    return capped


def _fit(calls: Sequence[np.ndarray], measured_s: np.ndarray) -> tuple[np.ndarray, float]:
    """(coefficients, cache bytes) of least error."""
    founds = []
    for cache in CACHES:
        terms = np.array([_capped(each, cache).sum(axis=0) for each in calls])
        founds.append((*_fit_terms(terms, measured_s), cache))
    _, coefficients, cache = min(founds, key=lambda found: found[0])
    return coefficients, cache


def _fit_terms(terms: np.ndarray, measured_s: np.ndarray) -> tuple[float, np.ndarray]:
    usual = np.log(_USUAL)

    def error(log_coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = np.exp(log_coefficients)
        predicted = terms @ coefficients
        off = np.log(predicted / measured_s)
        size = np.hypot(off, _SMOOTH)
        away = (log_coefficients - usual) * _DRAWN
        slope = (off / size / predicted) @ terms * coefficients + 2 * away * _DRAWN
        return float(size.sum() + np.square(away).sum()), slope

    bounds = list(zip(usual - _FAR, usual + _FAR))
    found = minimize(error, usual, jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.fun), np.exp(found.x)
