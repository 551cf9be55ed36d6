"""The roofline: a module takes as long as its FLOPs or its bytes do, whichever are slower.

    seconds = overhead + max(FLOPs / FLOP rate, bytes / byte rate)

Its three numbers are fitted, so it says what this machine reaches rather than what its data
sheet promises, and it extrapolates to shapes far larger than any it has seen. Where columns tell
the device, rates are shares of its peaks, and so hold for other devices as well.
Williams, Waterman, Patterson: Roofline (CACM 2009).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.optimize import least_squares

from latency_jax.artifacts import to_json
from latency_jax.devices import is_told
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.table import Table

_TINY = 1e-12  # s; keeps logarithms finite where a call has neither FLOPs nor bytes


class Roofline(Regressor):
    """Two fitted rates and an overhead, by least squares on log seconds. No validation, no seed."""

    flop_rate: float | None = None  # 1/s, or a share of the device's
    byte_rate: float | None = None  # the same
    overhead: float | None = None  # s
    at_peak = False  # whether rates are shares

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        self.at_peak = is_told(train.columns)
        flops, moved = _cost(train, self.at_peak)
        seconds, target = train.latency, np.log(train.latency)

        def residual(log_parameters: np.ndarray) -> np.ndarray:
            return np.log(_seconds(flops, moved, *np.exp(log_parameters))) - target

        # The maximum has kinks, so some starts: each side alone bounds most or few of the rows.
        best = None
        for share in (50, 90, 99):
            with_flops, with_bytes = flops > 0, moved > 0
            start = [
                np.percentile((flops / seconds)[with_flops], share) if with_flops.any() else 1e12,
                np.percentile((moved / seconds)[with_bytes], share) if with_bytes.any() else 1e12,
                0.5 * seconds.min(),
            ]
            found = least_squares(residual, np.log(start), max_nfev=200)
            if best is None or found.cost < best.cost:
                best = found
        assert best is not None
        self.flop_rate, self.byte_rate, self.overhead = map(float, np.exp(best.x))
        return self

    def predict(self, table: Table) -> np.ndarray:
        if self.flop_rate is None or self.byte_rate is None or self.overhead is None:
            raise NotFittedError(self)
        return _seconds(*_cost(table, self.at_peak), self.flop_rate, self.byte_rate, self.overhead)

    def to_files(self) -> dict[str, bytes]:
        if self.flop_rate is None:
            raise NotFittedError(self)
        rates = {"flop_rate": self.flop_rate, "byte_rate": self.byte_rate}
        record = {**rates, "overhead": self.overhead}
        # Only where it is, so that other files stay what they were.
        return {"roofline.json": to_json({**record, "at_peak": True} if self.at_peak else record)}

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            record = json.loads(files["roofline.json"])
            values = [float(record[n]) for n in ("flop_rate", "byte_rate", "overhead")]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the files of a roofline: {error!r}") from error
        if not all(np.isfinite(values)) or min(values) <= 0:
            raise ValueError(f"rates and overhead are {values}: expected positive numbers")
        self.flop_rate, self.byte_rate, self.overhead = values
        self.at_peak = record.get("at_peak") is True
        return self


def _cost(table: Table, at_peak: bool) -> tuple[np.ndarray, np.ndarray]:
    """(FLOPs, bytes), each f64[N], or their seconds at peak."""
    costs = table.costs(at_peak)
    return costs[0], costs[1:4].sum(axis=0)


def _seconds(
    flops: np.ndarray, moved: np.ndarray, flop_rate: float, byte_rate: float, overhead: float
) -> np.ndarray:
    return overhead + np.maximum(np.maximum(flops / flop_rate, moved / byte_rate), _TINY)
