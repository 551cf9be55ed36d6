"""How good predicted latencies are. Every share is of 1, not of 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Scores of predictions of one module kind, or a mean of such scores over kinds."""

    mape: float  # mean of |predicted - measured| / measured
    within_10: float  # share of rows predicted within 10 % of what was measured
    accuracy: float  # mean of max(0, 1 - |predicted - measured| / measured)
    r2: float  # of seconds
    r2_log: float  # of log seconds


def score(measured: np.ndarray, predicted: np.ndarray) -> Scores:
    """Scores of predicted against measured seconds, both f64[N] and positive.

    R² is NaN where all measured values are equal. Raises ValueError for other shapes or values.
    """
    if measured.ndim != 1 or len(measured) == 0 or predicted.shape != measured.shape:
        raise ValueError(
            f"measured {measured.shape}, predicted {predicted.shape}: expected two of [N], N > 0"
        )
    for name, seconds in (("measured", measured), ("predicted", predicted)):
        bad = np.flatnonzero(~(np.isfinite(seconds) & (seconds > 0)))
        if len(bad):
            raise ValueError(
                f"{name}, row {bad[0]}: {seconds[bad[0]]}; expected a positive number of seconds"
            )
    error = np.abs(predicted - measured) / measured
    return Scores(
        mape=float(error.mean()),
        within_10=float((error <= 0.1).mean()),
        accuracy=float(np.maximum(0, 1 - error).mean()),
        r2=_r2(measured, predicted),
        r2_log=_r2(np.log(measured), np.log(predicted)),
    )


def _r2(measured: np.ndarray, predicted: np.ndarray) -> float:
    spread = np.square(measured - measured.mean()).sum()
    return float(1 - np.square(measured - predicted).sum() / spread) if spread > 0 else np.nan


def overall(scores: Mapping[str, Scores], rows: Mapping[str, int]) -> tuple[Scores, Scores]:
    """(macro, weighted): the mean over kinds, and the mean weighted by each kind's rows.

    The paper says "overall accuracy" without saying which, so both are reported.
    """
    if not scores or scores.keys() != rows.keys():
        raise ValueError(f"scores of {sorted(scores)}, rows of {sorted(rows)}: expected the same")
    table = np.array([scores[kind] for kind in scores])
    weights = np.array([rows[kind] for kind in scores], np.float64)
    return (
        Scores(*map(float, table.mean(axis=0))),
        Scores(*map(float, np.average(table, axis=0, weights=weights))),
    )
