"""What whole models take beside their modules, fitted on other whole models.

    seconds = a * (sum of fused calls) + b * fused bytes + c * weight bytes + d * calls

with no number below zero. Modules that are timed alone find their weights and inputs in the
caches (b, c), and the calls of a whole model start one after another (d); a says what is left.
Four numbers, drawn to (1, 0, 0, 0), because whole models are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from latency_jax.intervals import Interval
from latency_jax.whole_model.fusion import FusedCall

TERMS = ("calls_s", "fused_bytes", "weight_bytes", "calls")
_PRIOR = np.array([1.0, 0.0, 0.0, 0.0])
_PRIOR_ROWS = 0.1  # how many models the prior of a term counts as


@dataclass(frozen=True)
class Correction:
    """Coefficients of TERMS (1, s per byte, s per byte, s), and how far off they leave models."""

    coefficients: tuple[float, ...]
    interval: Interval  # of models that the coefficients were not fitted to

    def apply(self, terms: np.ndarray) -> np.ndarray:
        """Seconds f64[N] of terms f64[N, 4], of single calls or of whole models."""
        return terms @ np.array(self.coefficients)

    def to_json(self) -> dict[str, Any]:
        """What `LatencyModel.correction` holds."""
        coefficients = dict(zip(TERMS, self.coefficients))
        return {"coefficients": coefficients, "interval": self.interval.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Correction:
        """Raises ValueError for what `to_json` did not write."""
        try:
            coefficients = tuple(float(values["coefficients"][name]) for name in TERMS)
            interval = Interval.from_json(values["interval"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a whole-model correction: {error!r}") from error
        if not all(np.isfinite(coefficients)) or min(coefficients) < 0 or not any(coefficients):
            raise ValueError(f"coefficients are {coefficients}: expected finite ones, 0 or more")
        return cls(coefficients, interval)


class CorrectionFit(NamedTuple):
    """A correction, and what it says of each model when that model is left out of the fit."""

    correction: Correction
    left_out_s: np.ndarray  # f64[N]


def call_terms(calls: Sequence[FusedCall], latency_s: np.ndarray) -> np.ndarray:
    """TERMS f64[N, 4] of calls that take `latency_s` f64[N], each with all its runs."""
    rows = [(call.fused_bytes * call.runs, call.weight_bytes, call.runs) for call in calls]
    return np.column_stack([latency_s, np.array(rows, np.float64).reshape(len(calls), 3)])


def fit_correction(
    models: Sequence[str], terms: np.ndarray, measured_s: np.ndarray
) -> CorrectionFit:
    """Fits to N measured runs of two or more models; runs of one model share its name.

    `terms` f64[N, 4] are sums over each model's calls, `measured_s` f64[N]. Least squares of
    relative errors. Raises ValueError for arrays of other shapes and for fewer models.
    """
    names = np.array(models)
    if terms.shape != (len(names), len(TERMS)) or measured_s.shape != names.shape:
        raise ValueError(
            f"{len(names)} names, terms {terms.shape}, measured {measured_s.shape}: expected N, "
            f"[N, {len(TERMS)}], [N]"
        )
    if len(set(models)) < 2:
        raise ValueError(
            f"models are {sorted(set(models))}: expected at least two to leave one out"
        )
    left_out_s = np.empty(len(names))
    for name in set(models):
        out = names == name
        left_out_s[out] = terms[out] @ _fit(terms[~out], measured_s[~out])
    interval = Interval.fit(measured_s, left_out_s)
    coefficients = tuple(map(float, _fit(terms, measured_s)))
    return CorrectionFit(Correction(coefficients, interval), left_out_s)


def _fit(terms: np.ndarray, measured_s: np.ndarray) -> np.ndarray:
    shares = terms / measured_s[:, None]
    scale = np.maximum(np.sqrt((shares**2).mean(axis=0)), 1e-300)  # 1 share is 1 whole latency
    weight = np.sqrt(_PRIOR_ROWS) * np.eye(len(TERMS))
    rows = np.concatenate([shares / scale, weight])
    targets = np.concatenate([np.ones(len(shares)), weight @ (_PRIOR * scale)])
    return nnls(rows, targets)[0] / scale
