"""A LatencyModel for a device that it was not fitted to, from a few measurements there.

How far off it is, and how wide intervals must be, say measurements that were each left out once:
ten parts of them are predicted by what is learnt from the other nine, and an interval reaches as
far as 90 % of these errors do. That is cross-conformal prediction (Vovk, arXiv 1208.0806): nothing
is guaranteed, about 90 % are covered on average over draws of the measurements, and with ten of
them a single draw may well cover 70 or 100 %. With fewer than nine measurements no finite interval
is given. What is measured must be new to the model: one that has learnt the same modules on other
devices predicts them too well, and then intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from latency_jax.devices import COLUMNS, NAME, Device, is_told, without_device
from latency_jax.intervals import Domain, Interval
from latency_jax.latency_model import KindModel, LatencyModel
from latency_jax.parameters import check_known
from latency_jax.regressors.recalibrated import METHODS, Recalibrated
from latency_jax.regressors.views import Views
from latency_jax.scores import Scores, score
from latency_jax.table import Table, TableError

__all__ = ["METHODS", "Recalibration", "cross_validated", "describe", "recalibrate", "views_of"]

LEAST_ROWS = 3
FEW_ROWS = 20
_PARTS = 10


class Recalibration(NamedTuple):
    """A recalibrated model, and by kind how it predicts measurements that it has not seen."""

    model: LatencyModel
    before: dict[str, Scores]  # of the model as it was
    after: dict[str, Scores]  # cross-validated
    weights: dict[str, dict[str, float]]  # of the bases, as in regressors/recalibrated.py
    lost: tuple[str, ...]  # kinds that nothing was measured of, so that nothing is known of them


def recalibrate(
    model: LatencyModel,
    tables: Mapping[str, Table],
    device: Device | None = None,
    environment: Mapping[str, Any] | None = None,
    method: str = "blend",
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Recalibration:
    """Recalibrates every kind of `tables`, by kind the measurements on the new device.

    `device` describes it, as far as a model of several devices or with a described one can use
    that. Kinds without measurements stay as they are in a model of several devices, if `device`
    is given, and are lost otherwise. The same arguments give the same model. Raises
    ParameterError for a kind that the model does not know, TableError for fewer than LEAST_ROWS
    measurements or without columns that it needs, and ValueError for an unknown method.
    """
    models, before, after, weights = {}, {}, {}, {}
    for kind, table in tables.items():
        check_known(kind, model.kinds, "kind of this latency model")
        if table.rows < LEAST_ROWS:
            raise TableError(f"{kind}: {table.rows} measurements; expected {LEAST_ROWS} or more")
        old, measured = model.models[kind], without_device(table)
        views = views_of(model, old, device)
        fitted = Recalibrated.of(views, method).fit(measured, measured, seed)
        left_out = cross_validated(views, method, measured, seed)
        interval = Interval.fit(measured.latency, left_out)
        models[kind] = KindModel(fitted, interval, _less_device(old.domain))
        says = Recalibrated.of(views, "none").fit(measured, measured, seed).predict(measured)
        before[kind] = score(measured.latency, says)
        after[kind] = score(measured.latency, left_out)
        weights[kind] = fitted.weights
    others = [kind for kind in model.kinds if kind not in models]
    kept = others if model.devices and device is not None else []
    new = replace(
        model,
        models={**models, **{kind: model.models[kind] for kind in kept}},
        environment=environment or {},
        correction=None,  # that of another device
        about={"recalibrated": dict(about or {}), "source": dict(model.about)},
        devices=model.devices if kept else {},
        device=device,
    )
    lost = tuple(kind for kind in others if kind not in kept)
    return Recalibration(new, before, after, weights, lost)


def views_of(model: LatencyModel, old: KindModel, device: Device | None) -> Views:
    """What one kind of the model can say of a device."""
    known = tuple(model.devices.values()) if is_told(old.domain.ranges) else ()
    return Views(old.regressor, known, None if known else model.device, device)


def cross_validated(views: Views, method: str, measured: Table, seed: int) -> np.ndarray:
    """f64[N] seconds: each row predicted by what is learnt without its part of the rows."""
    parts = min(_PARTS, measured.rows)
    part = np.random.default_rng(seed).permutation(measured.rows) % parts
    seconds = np.empty(measured.rows)
    for number in range(parts):
        rest = measured.take(part != number)
        fitted = Recalibrated.of(views, method).fit(rest, rest, seed)
        seconds[part == number] = fitted.predict(measured.take(part == number))
    return seconds


def _less_device(domain: Domain) -> Domain:
    ours = {NAME, *COLUMNS}
    return replace(
        domain,
        ranges={name: bounds for name, bounds in domain.ranges.items() if name not in ours},
        categories={name: known for name, known in domain.categories.items() if name not in ours},
    )


def describe(found: Recalibration, rows: Mapping[str, int]) -> str:
    """What was found, in a line for each kind; `rows` are measurements by kind."""
    lines = []
    for kind, after in found.after.items():
        before, interval = found.before[kind], found.model.models[kind].interval
        reach = "none" if interval.reach is None else f"x/÷ {np.exp(interval.reach):.2f}"
        lines.append(
            f"{kind}: {rows[kind]} measurements; MAPE {before.mape:.1%} -> {after.mape:.1%}, "
            f"±10 % {before.within_10:.0%} -> {after.within_10:.0%}; 90 % interval {reach}"
        )
        if rows[kind] < FEW_ROWS:
            lines.append(f"{kind}: of fewer than {FEW_ROWS} measurements that interval says little")
    if found.lost:
        lines.append(f"not measured on the new device, so left out: {', '.join(found.lost)}")
    return "\n".join(lines)
