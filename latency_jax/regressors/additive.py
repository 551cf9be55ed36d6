"""A sum of what a module does, each part with a rate of its own.

    seconds = overhead + FLOPs / rate + input bytes / rate + weight bytes / rate
              + output bytes / rate + CPU work / rate

No rate is negative, so it extrapolates as a roofline does; where a roofline takes the slower of
two, here every part counts, as on a CPU that does not overlap them. "CPU work" is what the kind
says of copies and slow loops, `ModuleKind.work`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.optimize import minimize, nnls

from latency_jax.artifacts import to_json
from latency_jax.features import amounts
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.table import Table

PARTS = ("overhead", "flops", "input_bytes", "weight_bytes", "output_bytes", "work")
_LEAST = 1e-8  # of the share at which a part alone would be a whole latency
_SMOOTH = 0.1  # errors of log seconds below it count squared, larger ones as they are


class Additive(Regressor):
    """Seconds of a unit of each of PARTS, fitted to log seconds. No validation, no seed."""

    seconds: tuple[float, ...] | None = None

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        parts = np.column_stack([np.ones(train.rows), amounts(train).T])
        whole = (parts / train.latency[:, None]).max(axis=0)  # of its own, and so a bound
        used = whole > 0
        scaled = parts[:, used] / whole[used]

        def error(log_shares: np.ndarray) -> tuple[float, np.ndarray]:
            shares = np.exp(log_shares)
            predicted = scaled @ shares
            off = np.log(predicted / train.latency)
            size = np.hypot(off, _SMOOTH)
            return size.sum(), (off / size / predicted) @ scaled * shares

        # There are several minima: one start fits the rows where most counts for little, others
        # let every part be a like share of a typical row.
        own = scaled / train.latency[:, None]
        starts = [nnls(own, np.ones(train.rows))[0]]
        starts += [share / np.quantile(own, 0.5, axis=0).clip(1e-6) for share in (0.2, 0.02)]
        log_bounds = np.log(_LEAST), -np.log(_LEAST)
        founds = [
            minimize(
                error,
                np.log(np.clip(start, 1e-4, 1e6)),
                jac=True,
                method="L-BFGS-B",
                bounds=[log_bounds] * len(start),
            )
            for start in starts
        ]
        found = min(founds, key=lambda found: found.fun)
        seconds = np.zeros(len(PARTS))
        seconds[used] = np.exp(found.x) / whole[used]
        self.seconds = tuple(seconds.tolist())
        return self

    def predict(self, table: Table) -> np.ndarray:
        return self.of_amounts(amounts(table))

    def of_amounts(self, known: np.ndarray) -> np.ndarray:
        """f64[N] seconds of `amounts` of a table."""
        if self.seconds is None:
            raise NotFittedError(self)
        overhead, *rates = self.seconds
        return overhead + np.array(rates) @ known

    def to_files(self) -> dict[str, bytes]:
        if self.seconds is None:
            raise NotFittedError(self)
        return {"additive.json": to_json(dict(zip(PARTS, self.seconds)))}

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            record = json.loads(files["additive.json"])
            seconds = tuple(float(record[part]) for part in PARTS)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the files of {self.name!r}: {error!r}") from error
        if not all(np.isfinite(seconds)) or min(seconds) < 0 or seconds[0] <= 0:
            raise ValueError(f"seconds are {seconds}: expected 0 or more, and an overhead")
        self.seconds = seconds
        return self
