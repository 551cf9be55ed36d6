"""A regressor of other devices, corrected by a few measurements of a new one.

Bases (`views.py`) say the shape of latencies, and a Gaussian process what they miss, from what a
module is and how the known devices disagree about it. Each base has its own; their mean is
weighted by how well each explains the measurements.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from latency_jax.artifacts import from_npz, to_json, to_npz
from latency_jax.devices import Device, DeviceError, without_device
from latency_jax.features import FeatureEncoder
from latency_jax.regressors import gaussian_process
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.regressors.encoded import MARGIN
from latency_jax.regressors.gaussian_process import BIAS, LINEAR, SMOOTH, GaussianProcess, Prior
from latency_jax.regressors.medn import imagined
from latency_jax.regressors.registry import Entry, make_regressor, register_regressor
from latency_jax.regressors.roofline import Roofline
from latency_jax.regressors.views import BASES, Views
from latency_jax.table import Table, TableError

_IMAGINED = 400
_TEMPER = 3.0  # of weights: bases are no independent witnesses, so none is quite ruled out
_VIEW_SCALE = 3.0  # differences of log seconds are small beside standardised features


class Method(NamedTuple):
    """Which bases, how they are corrected, and whether corrections see how views differ."""

    bases: tuple[str, ...]
    prior: Prior | None  # None: not at all
    sees_views: bool = False


METHODS = {
    "none": Method(("predicted",), None),
    "bias": Method(("predicted",), BIAS),
    "linear": Method(("predicted",), LINEAR),
    "own": Method(("own", "predicted"), BIAS),
    "process": Method(("predicted",), SMOOTH),
    "process_views": Method(("predicted",), SMOOTH, sees_views=True),
    "blend": Method(BASES, SMOOTH, sees_views=True),
}


class Recalibrated(Regressor):
    """Made by `of`, then fitted to the rows of the new device alone; validation is not used."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(name, kind)
        self.method = "blend"
        self._views: Views | None = None
        self._rooflines: tuple[Roofline, ...] = ()
        self._encoder: FeatureEncoder | None = None
        self._parts: dict[str, tuple[float, GaussianProcess]] = {}  # by base: weight, correction
        self._range = (-np.inf, np.inf)  # of log seconds, that predictions are kept in

    @classmethod
    def of(cls, views: Views, method: str = "blend") -> Recalibrated:
        """Unfitted. Raises ValueError for an unknown method."""
        if method not in METHODS:
            raise ValueError(f"method = {method!r}: expected one of {', '.join(METHODS)}")
        new = cls("recalibrated", views.source.kind)
        new._views, new.method = views, method
        return new

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        if self._views is None:
            raise ValueError("a recalibrated regressor needs one to correct: begin with `of`")
        method, train = METHODS[self.method], without_device(train)
        asked = _with_imagined(train, seed)
        if "own" in method.bases:
            self._rooflines = self._views.rooflines(asked, train)
        try:
            self._encoder = FeatureEncoder.fit(asked, "log", standardized=True)
        except TableError:  # no column varies: only a bias can be learnt
            self._encoder = None
        views = self._views.of(train)
        x, target = self._inputs(train, views), np.log(train.latency)
        losses = {}
        for base, says in self._views.bases(train, views, self._rooflines).items():
            if base in method.bases:
                found = _corrected(x, target - says, method.prior)
                losses[base] = found.loss
                self._parts[base] = (0.0, found)
        least = min(losses.values())
        weights = {base: np.exp((least - loss) / _TEMPER) for base, loss in losses.items()}
        total = sum(weights.values())
        self._parts = {b: (float(w / total), self._parts[b][1]) for b, w in weights.items()}
        known = [target, *views]
        self._range = (min(map(np.min, known)) - MARGIN, max(map(np.max, known)) + MARGIN)
        return self

    @property
    def weights(self) -> dict[str, float]:
        """By base; they add up to 1."""
        return {base: weight for base, (weight, _) in self._parts.items()}

    def predict(self, table: Table) -> np.ndarray:
        if self._views is None or not self._parts:
            raise NotFittedError(self)
        table = without_device(table)
        views = self._views.of(table)
        bases, x = self._views.bases(table, views, self._rooflines), self._inputs(table, views)
        corrected = [w * (bases[base] + gp.predict(x)) for base, (w, gp) in self._parts.items()]
        return np.exp(np.clip(np.sum(corrected, axis=0), *self._range))

    def to_files(self) -> dict[str, bytes]:
        if self._views is None or not self._parts:
            raise NotFittedError(self)
        views = self._views
        arrays: dict[str, np.ndarray] = {}
        for base, (_, gp) in self._parts.items():
            arrays |= {f"{base}.weights": gp.weights, f"{base}.scales": gp.scales, "x": gp.x}
        record = {
            "method": self.method,
            "source": views.source.name,
            "known": [device.to_json() for device in views.known],
            "former": None if views.former is None else views.former.to_json(),
            "device": None if views.device is None else views.device.to_json(),
            "rooflines": [json.loads(r.to_files()["roofline.json"]) for r in self._rooflines],
            "encoder": None if self._encoder is None else self._encoder.to_json(),
            "weights": {base: [weight, gp.loss] for base, (weight, gp) in self._parts.items()},
            "log_range": [float(bound) for bound in self._range],
        }
        source = {f"source.{name}": data for name, data in views.source.to_files().items()}
        return {**source, "recalibrated.json": to_json(record), "processes.npz": to_npz(arrays)}

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            self._take(json.loads(files["recalibrated.json"]), files)
        except (KeyError, TypeError, AttributeError, DeviceError) as error:
            raise ValueError(f"not the files of a {self.name!r}: {error!r}") from error
        return self

    def _take(self, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        of_source = {n.removeprefix("source."): d for n, d in files.items() if n[:7] == "source."}
        source = make_regressor(record["source"], self.kind).restore(of_source)
        devices = [None if d is None else Device.from_json(d) for d in _both(record)]
        known = tuple(map(Device.from_json, record["known"]))
        self._views = Views(source, known, devices[0], devices[1])
        self.method = record["method"]
        if self.method not in METHODS or not record["weights"]:
            raise ValueError(f"method {self.method!r}: expected one of {', '.join(METHODS)}")
        self._rooflines = tuple(
            Roofline("roofline", self.kind).restore({"roofline.json": to_json(each)})
            for each in record["rooflines"]
        )
        encoder = record["encoder"]
        self._encoder = None if encoder is None else FeatureEncoder.from_json(encoder)
        arrays = from_npz(files["processes.npz"])
        x = arrays["x"]
        self._parts = {}
        for base in (base for base in BASES if base in record["weights"]):  # JSON sorts them
            weight, loss = record["weights"][base]
            of_base = arrays[f"{base}.weights"], arrays[f"{base}.scales"]
            if of_base[0].shape != x.shape[:1] or of_base[1].shape != (5,) or x.ndim != 2:
                raise ValueError(f"process of {base!r}: expected x [N, F], weights [N], 5 scales")
            self._parts[base] = (float(weight), GaussianProcess(x, *of_base, float(loss)))
        low, high = record["log_range"]
        self._range = (float(low), float(high))

    def _inputs(self, table: Table, views: np.ndarray) -> np.ndarray:
        """f64[N, F] that corrections are made of."""
        parts = [np.empty((table.rows, 0))]
        if self._encoder is not None:
            parts.append(self._encoder.transform(table))
        if METHODS[self.method].sees_views and len(views) > 1:
            parts.append(_VIEW_SCALE * (views - views.mean(axis=0)).T)
        return np.ascontiguousarray(np.concatenate(parts, axis=1))  # as files bring it back


def _corrected(x: np.ndarray, y: np.ndarray, prior: Prior | None) -> GaussianProcess:
    if prior is None:
        return GaussianProcess(x, np.zeros(len(x)), np.zeros(5), 0.0)
    return gaussian_process.fit(x, y, prior)


def _both(record: Mapping[str, Any]) -> tuple[Any, Any]:
    return record["former"], record["device"]


def _with_imagined(measured: Table, seed: int) -> Table:
    """Measured rows, and rows of their values, mixed: what the new device may be asked about."""
    mixed = imagined(measured, _IMAGINED, np.random.default_rng(seed))
    if measured.kind != "generic":  # kernels larger than their inputs, and the like
        amounts = mixed.amounts
        mixed = mixed.take(np.isfinite(amounts).all(axis=0) & (amounts[:4].min(axis=0) >= 0))
    columns = {n: np.concatenate([c, mixed.columns[n]]) for n, c in measured.columns.items()}
    return Table(measured.kind, columns, np.ones(measured.rows + mixed.rows))


register_regressor("recalibrated", Entry(Recalibrated, needs_source=True))
