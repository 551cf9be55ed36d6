"""What a model of some devices says of a device that it was not fitted to.

Asked as on a device that it knows, it gives a view of a module: a GPU's view of a convolution is
near any other GPU's, up to how fast each is. From the views S of them, log seconds,

    predicted   what the model says with the new device's own descriptor
    mean        the mean of the views
    half        the mean of these two
    own         a roofline of the new device, plus what rooflines of the known devices miss

are the bases that a correction starts from. A model of one device has a single view, and then
`predicted` scales it by the ratio of the rooflines that data sheets say, where these are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from latency_jax.columns import GENERIC
from latency_jax.devices import Device, is_told, with_device
from latency_jax.regressors.base import Regressor
from latency_jax.regressors.roofline import Roofline
from latency_jax.table import Table

BASES = ("predicted", "mean", "half", "own")
_NOISE = 0.15  # of log seconds about a roofline; larger errors count less
_LEAST_SPREAD = 0.3  # of the logarithm of what devices reach of their peaks
_UNKNOWN_SPREAD = 1.5  # of rates of which no data sheet says anything


@dataclass(frozen=True)
class Views:
    """A model `source` of the devices `known`, seen from `device`; tables have no device columns.

    Where `known` is empty the source is of one device, that may be described by `former`.
    """

    source: Regressor
    known: tuple[Device, ...]
    former: Device | None
    device: Device | None

    def of(self, table: Table) -> np.ndarray:
        """f64[S, N]: log seconds as on each known device; S is 1 for a model of one device."""
        asked = [with_device(table, device) for device in self.known] or [table]
        return np.log(np.stack([self.source.predict(each) for each in asked]))

    def predicted(self, table: Table, views: np.ndarray) -> np.ndarray:
        """f64[N]: log seconds on the new device before anything was measured there."""
        if self.known:
            if self.device is None:
                return views.mean(axis=0)
            return np.log(self.source.predict(with_device(table, self.device)))
        if not self.is_told or table.kind == GENERIC:
            return views[0]
        assert self.former is not None and self.device is not None
        seconds = [_at_peak(with_device(table, d)) for d in (self.former, self.device)]
        return views[0] + np.log(seconds[1] / seconds[0])

    @property
    def is_told(self) -> bool:
        """Whether descriptors say how the new device differs."""
        return self.device is not None and bool(self.known or self.former)

    def tables(self, table: Table) -> list[Table]:
        """The table on each known device and then on the new one, as rooflines need them."""
        if not self.is_told:
            return [table] * (max(1, len(self.known)) + 1)
        known = self.known or (self.former,)
        return [with_device(table, device) for device in (*known, self.device) if device]

    def rooflines(self, imagined: Table, measured: Table) -> tuple[Roofline, ...]:
        """A roofline of each view, fitted to what it says of `imagined` rows, then the new one's.

        That one is fitted to `measured` rows, less what the others miss there; its rates are
        drawn to the shares of their peaks that the others reach. No rooflines of generic kinds.
        """
        if measured.kind == GENERIC:
            return ()
        *asked, _ = self.tables(imagined)
        found = []
        for table, view in zip(asked, self.of(imagined)):
            rows = Table(table.kind, table.columns, np.exp(view))
            found.append(Roofline("roofline", table.kind).fit(rows, rows, 0))
        missed = _missed(found, self.tables(measured)[:-1], self.of(measured))
        log_rates = np.log([[r.flop_rate, r.byte_rate, r.overhead] for r in found])  # type: ignore
        spread = np.maximum(log_rates.std(axis=0), _LEAST_SPREAD)
        if not self.is_told:
            spread = np.maximum(spread, _UNKNOWN_SPREAD)
        own = _drawn_to(self.tables(measured)[-1], missed, log_rates.mean(axis=0), spread)
        return (*found, own)

    def bases(
        self, table: Table, views: np.ndarray, rooflines: Sequence[Roofline]
    ) -> dict[str, np.ndarray]:
        """f64[N] by name, those of BASES that there are."""
        predicted = self.predicted(table, views)
        found = {"predicted": predicted}
        if len(views) > 1:
            mean = views.mean(axis=0)
            found |= {"mean": mean, "half": (predicted + mean) / 2}
        if rooflines:
            *asked, own = self.tables(table)
            missed = _missed(rooflines[:-1], asked, views)
            found["own"] = np.log(rooflines[-1].predict(own)) + missed
        return found


def _at_peak(table: Table) -> np.ndarray:
    """f64[N]: seconds of the slower of FLOPs and bytes, at peak; a millionth of one at least."""
    costs = table.costs(True)
    return np.maximum(np.maximum(costs[0], costs[1:4].sum(axis=0)), 1e-6)


def _missed(
    rooflines: Sequence[Roofline], tables: Sequence[Table], views: np.ndarray
) -> np.ndarray:
    """f64[N]: the mean of what views say beyond their rooflines."""
    return np.mean([v - np.log(r.predict(t)) for r, t, v in zip(rooflines, tables, views)], axis=0)


def _drawn_to(
    measured: Table, missed: np.ndarray, centre: np.ndarray, spread: np.ndarray
) -> Roofline:
    """The roofline that explains measured rows best, near log rates of a centre f64[3]."""
    target = np.log(measured.latency) - missed
    own = Roofline("roofline", measured.kind)
    own.at_peak = is_told(measured.columns)

    def residual(log_rates: np.ndarray) -> np.ndarray:
        own.flop_rate, own.byte_rate, own.overhead = map(float, np.exp(log_rates))
        off = (np.log(own.predict(measured)) - target) / _NOISE
        return np.concatenate([off, (log_rates - centre) / spread])

    found = least_squares(residual, centre, loss="soft_l1", max_nfev=100)
    own.flop_rate, own.byte_rate, own.overhead = map(float, np.exp(found.x))
    return own
