"""Leave one device out: what is known of a device before, and after, a few measurements there.

Modules are divided first, all devices alike: some are learnt, some may be measured on the held-out
device, some are tested there. So neither what is measured nor what is tested was learnt on any
other device; a model is better at what it has learnt, and corrections would believe it too much.
The few rows that are "measured" are drawn anew for each seed. With these

    zero_shot     regressors of the other devices, told the device's descriptor; 0 measurements
    recalibrated  one of them, corrected by methods of regressors/recalibrated.py
    retrained     one of them, fitted anew to the others' rows and the few, which are repeated
    single        a model of one other device, corrected likewise
    scratch       regressors of the few rows alone, and the one that these rows choose
    all_rows      a regressor of all training rows of the device: about what can be reached
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from latency_jax.columns import GENERIC
from latency_jax.devices import Device, with_device
from latency_jax.fitting.few_rows import chosen, fit_few, names_for
from latency_jax.intervals import Interval
from latency_jax.recalibration import cross_validated
from latency_jax.regressors import Recalibrated, Regressor, make_regressor
from latency_jax.regressors.views import Views
from latency_jax.scores import score
from latency_jax.table import Table, TableError, joined

_LEARNT_SHARE, _MEASURED_SHARE = 0.55, 0.2  # of the modules; the rest are tested
_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class DeviceStudyConfig:
    """What is compared, on how many rows."""

    regressor: str = "mean_blend"  # that is recalibrated, and learns all rows
    generic_regressor: str = "hist_gb"  # the same, of tables without FLOPs
    zero_shot: tuple[str, ...] = (  # beside it
        *("roofline", "additive", "hist_gb", "residual_hist_gb", "additive_hist_gb"),
    )
    methods: tuple[str, ...] = ("bias", "linear", "own", "process", "process_views", "blend")
    single_methods: tuple[str, ...] = ("none", "bias", "blend")
    scratch: tuple[str, ...] = ()  # empty: all of few_rows.NAMES that the kind can have
    counts: tuple[int, ...] = (10, 20, 50)
    draws: int = 5
    rows: int = 1200  # of each device, at most, that others learn from
    test_rows: int = 600  # of the held-out device, at most
    retrained: str = "additive_hist_gb"
    retrained_rows: int = 500  # that the few rows become when they are learnt with others
    retrained_draws: int = 2
    seed: int = 0


class Divided(NamedTuple):
    """The rows of one device: learnt for other devices, measured or tested when it is held out."""

    device: Device | None
    train: Table
    measured: Table
    test: Table

    @property
    def known(self) -> Table:
        """All that is not tested."""
        return joined([self.train, self.measured])


def divide(
    tables: Mapping[str, Table], devices: Mapping[str, Device], config: DeviceStudyConfig
) -> dict[str, Divided]:
    """By name of the device. A module plays the same part on all of them."""
    found = {}
    for name, table in tables.items():
        lots = _lots(table)
        bounds = np.cumsum([_LEARNT_SHARE, _MEASURED_SHARE])
        rng = np.random.default_rng(config.seed)
        parts = [
            rng.permutation(np.flatnonzero(np.searchsorted(bounds, lots, "right") == number))
            for number in range(3)
        ]
        if len(parts[1]) < max(config.counts) or not all(map(len, parts)):
            raise TableError(
                f"{name}: {table.rows} rows, {len(parts[1])} of them to be measured; expected "
                f"{max(config.counts)} or more"
            )
        train, measured, test = (table.take(part) for part in parts)
        limited = test.take(slice(config.test_rows))
        found[name] = Divided(devices.get(name), train, measured, limited)
    return found


def study(
    divided: Mapping[str, Divided],
    held_out: str,
    config: DeviceStudyConfig,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Rows of all that is found with one device held out, as they are found given to `on_row`.

    Each has arm, what (a regressor or a method), source (the device, for "single"), measured,
    draw, and scores on test; some also the share of test rows within 90 % intervals.
    Arms that need descriptors are left out where there are none.
    """
    target = divided[held_out]
    others = {name: each for name, each in divided.items() if name != held_out}
    rows = []
    is_described = all(each.device is not None for each in divided.values())
    is_described &= target.train.kind != GENERIC
    is_several = is_described and len(others) > 1
    parts = [_scratch(target, config), _singles(target, others, config, not is_several)]
    if is_several:
        parts.insert(0, _several(target, others, config))
    for part in parts:
        for row in part:
            rows.append({"device": held_out, **row})
            on_row(rows[-1])
    return rows


def _several(
    target: Divided, others: Mapping[str, Divided], config: DeviceStudyConfig
) -> Iterator[dict[str, Any]]:
    assert target.device is not None
    known = tuple(each.device for each in others.values() if each.device is not None)
    learnt = joined(
        [
            with_device(each.train.take(slice(config.rows)), d)
            for each, d in zip(others.values(), known)
        ]
    )
    test = with_device(target.test, target.device)
    costs = test.costs(True)
    sheet = np.maximum(np.maximum(costs[0], costs[1:4].sum(axis=0)), 1e-9)
    yield _row("zero_shot", "data sheet", test, sheet)
    source = None
    for name in (*config.zero_shot, config.regressor):
        source = _fit(name, learnt, config.seed)
        yield _row("zero_shot", name, test, source.predict(test))
    assert source is not None
    views = Views(source, known, None, target.device)
    yield from _recalibrated("recalibrated", "", views, config.methods, target, config, True)
    for count, draw, few in _draws(target, config):
        if draw < config.retrained_draws:
            repeated = few.take(np.resize(np.arange(count), config.retrained_rows))
            rows = joined([learnt, with_device(repeated, target.device)])
            fitted = _fit(config.retrained, rows, config.seed)
            yield _row("retrained", config.retrained, test, fitted.predict(test), count, draw)


def _singles(
    target: Divided, others: Mapping[str, Divided], config: DeviceStudyConfig, covered: bool
) -> Iterator[dict[str, Any]]:
    for name, other in others.items():
        source = _fit(_regressor(other.train, config), other.train, config.seed)
        views = Views(source, (), other.device, target.device)
        methods = config.single_methods
        yield from _recalibrated("single", name, views, methods, target, config, covered)


def _scratch(target: Divided, config: DeviceStudyConfig) -> Iterator[dict[str, Any]]:
    names = config.scratch or names_for(target.test.kind)
    for count, draw, few in _draws(target, config):
        for name in names:
            says = fit_few(name, few, draw).predict(target.test)
            yield _row("scratch", name, target.test, says, count, draw)
        best = chosen(names, few, draw)
        says = fit_few(best, few, draw).predict(target.test)
        yield {**_row("scratch", "chosen", target.test, says, count, draw), "chosen": best}
    name = _regressor(target.train, config)
    says = _fit(name, target.known, config.seed).predict(target.test)
    yield _row("all_rows", name, target.test, says, target.known.rows)


def _recalibrated(
    arm: str,
    source: str,
    views: Views,
    methods: Sequence[str],
    target: Divided,
    config: DeviceStudyConfig,
    covered: bool,
) -> Iterator[dict[str, Any]]:
    for count, draw, few in _draws(target, config):
        for method in methods:
            if method == "none" and (count, draw) != (min(config.counts), 0):
                continue  # it does not look at the measurements
            says = Recalibrated.of(views, method).fit(few, few, draw).predict(target.test)
            measured = 0 if method == "none" else count
            row = _row(arm, method, target.test, says, measured, draw)
            if method == "blend" and covered:
                left_out = cross_validated(views, method, few, draw)
                low, high = Interval.fit(few.latency, left_out).bounds(says)
                inside = (low <= target.test.latency) & (target.test.latency <= high)
                row["coverage"] = float(inside.mean())
            yield {**row, "source": source}


def _draws(target: Divided, config: DeviceStudyConfig) -> Iterator[tuple[int, int, Table]]:
    """(count, draw, the rows): those of a smaller count are among those of a larger one."""
    for draw in range(config.draws):
        order = np.random.default_rng([config.seed, draw]).permutation(target.measured.rows)
        for count in config.counts:
            yield count, draw, target.measured.take(order[:count])


def _fit(name: str, rows: Table, seed: int) -> Regressor:
    order = np.random.default_rng(seed).permutation(rows.rows)
    held = max(1, round(_VALIDATION_SHARE * rows.rows))
    regressor = make_regressor(name, rows.kind)
    return regressor.fit(rows.take(order[held:]), rows.take(order[:held]), seed)


def _regressor(table: Table, config: DeviceStudyConfig) -> str:
    return config.generic_regressor if table.kind == GENERIC else config.regressor


def _row(
    arm: str, what: str, test: Table, says: np.ndarray, measured: int = 0, draw: int = 0
) -> dict[str, Any]:
    found = score(test.latency, says)
    return {"arm": arm, "what": what, "measured": measured, "draw": draw, **found._asdict()}


def _lots(table: Table) -> np.ndarray:
    """f64[N] in [0, 1), the same for the same module wherever it stands."""
    columns = [column.tolist() for _, column in sorted(table.columns.items())]
    digests = [hashlib.sha256(repr(values).encode()).digest() for values in zip(*columns)]
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests]) / 2.0**64
