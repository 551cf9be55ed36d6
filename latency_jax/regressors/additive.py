"""A sum of what a module does, each part with a rate of its own.

    seconds = (overhead + FLOPs / rate + input bytes / rate + weight bytes / rate
               + output bytes / rate + CPU work / rate)
              * (1 + a * CPU utilisation + b * memory pressure)

No rate is negative, so it extrapolates as a roofline does; where a roofline takes the slower of
two, here every part counts, as on a CPU that does not overlap them. "CPU work" is what the kind
says of copies and slow loops, `ModuleKind.work`. Beside load all of it takes longer. Where columns
tell the device, rates are shares of its peaks, and so hold for other devices as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize, nnls

from latency_jax.artifacts import to_json
from latency_jax.devices import is_told
from latency_jax.physics import LOADS
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.table import Table

PARTS = ("overhead", "flops", "input_bytes", "weight_bytes", "output_bytes", "work")
_USUAL_SLOWDOWN = 1.0  # beside a full load: the time is shared with it
_LEAST = 1e-8  # of the share at which a part alone would be a whole latency
_SMOOTH = 0.1  # errors of log seconds below it count squared, larger ones as they are


class Additive(Regressor):
    """Seconds of a unit of each of PARTS, and slowdowns, fitted to log seconds.

    Needs no validation and no seed.
    """

    seconds: tuple[float, ...] | None = None
    slowdowns: tuple[float, ...] = (0.0,) * len(LOADS)  # share that a full load of each adds
    at_peak = False  # whether rates are shares

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        self.at_peak = is_told(train.columns)
        known = train.costs(self.at_peak)
        parts, loads = np.column_stack([np.ones(train.rows), known[:5].T]), known[5:].T
        whole = (parts / train.latency[:, None]).max(axis=0)  # of its own, and so a bound
        used, beside = whole > 0, loads.max(axis=0) > 0
        scaled, loads = parts[:, used] / whole[used], loads[:, beside]
        count = int(used.sum())

        def error(log_factors: np.ndarray) -> tuple[float, np.ndarray]:
            shares, slowdowns = np.split(np.exp(log_factors), [count])
            alone, slower = scaled @ shares, 1 + loads @ slowdowns
            off = np.log(alone * slower / train.latency)
            size = np.hypot(off, _SMOOTH)
            slope = off / size
            return size.sum(), np.concatenate(
                [(slope / alone) @ scaled * shares, (slope / slower) @ loads * slowdowns]
            )

        # There are several minima: one start fits the rows where most counts for little, others
        # let every part be a like share of a typical row.
        own = scaled / train.latency[:, None]
        starts = [nnls(own, np.ones(train.rows))[0]]
        starts += [share / np.quantile(own, 0.5, axis=0).clip(1e-6) for share in (0.2, 0.02)]
        slowdown = np.full(loads.shape[1], _USUAL_SLOWDOWN)
        log_bounds = np.log(_LEAST), -np.log(_LEAST)
        founds = [
            minimize(
                error,
                np.log(np.concatenate([np.clip(start, 1e-4, 1e6), slowdown])),
                jac=True,
                method="L-BFGS-B",
                bounds=[log_bounds] * (count + len(slowdown)),
            )
            for start in starts
        ]
        found = min(founds, key=lambda found: found.fun)
        factors = np.exp(found.x)
        seconds, slowdowns = np.zeros(len(PARTS)), np.zeros(len(LOADS))
        seconds[used] = factors[:count] / whole[used]
        slowdowns[beside] = factors[count:]
        return self._with(tuple(seconds.tolist()), tuple(slowdowns.tolist()))

    def predict(self, table: Table) -> np.ndarray:
        if self.seconds is None:
            raise NotFittedError(self)
        known = table.costs(self.at_peak)
        alone = self.seconds[0] + self._rates @ known[:5]
        seconds: np.ndarray = alone * (1 + self._loads @ known[5:])
        return seconds

    def to_files(self) -> dict[str, bytes]:
        if self.seconds is None:
            raise NotFittedError(self)
        record: dict[str, Any] = {"seconds": dict(zip(PARTS, self.seconds))}
        record["slowdowns"] = dict(zip(LOADS, self.slowdowns))
        # Only where it is, so that other files stay what they were.
        return {"additive.json": to_json({**record, "at_peak": True} if self.at_peak else record)}

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            record = json.loads(files["additive.json"])
            seconds = tuple(float(record["seconds"][part]) for part in PARTS)
            slowdowns = tuple(float(record["slowdowns"][load]) for load in LOADS)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the files of {self.name!r}: {error!r}") from error
        factors = (*seconds, *slowdowns)
        if not all(np.isfinite(factors)) or min(factors) < 0 or seconds[0] <= 0:
            raise ValueError(f"numbers are {factors}: expected 0 or more, and an overhead")
        self.at_peak = record.get("at_peak") is True
        return self._with(seconds, slowdowns)

    def _with(self, seconds: tuple[float, ...], slowdowns: tuple[float, ...]) -> Self:
        self.seconds, self.slowdowns = seconds, slowdowns
        self._rates, self._loads = np.array(seconds[1:]), np.array(slowdowns)  # for `predict`
        return self
