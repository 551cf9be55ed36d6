"""Leave one device out: what is known of a device before, and after, a few measurements there.

Modules are divided first, all devices alike: nothing that is tested, on any device, was trained
on, on any other. The held-out device gives its test rows, and the few rows that are "measured",
drawn anew for each seed. With these

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

_TEST_SHARE = 0.3
_VALIDATION_SHARE = 0.1
ENSEMBLE = "mean of these"


@dataclass(frozen=True)
class DeviceStudyConfig:
    """What is compared, on how many rows."""

    regressor: str = "additive_hist_gb"  # that is recalibrated, and learns all rows
    generic_regressor: str = "hist_gb"  # the same, of tables without FLOPs
    zero_shot: tuple[str, ...] = ("roofline", "additive", "hist_gb", "residual_hist_gb")
    methods: tuple[str, ...] = ("bias", "linear", "own", "process", "process_views", "blend")
    single_methods: tuple[str, ...] = ("none", "bias", "process", "blend")
    scratch: tuple[str, ...] = ()  # empty: all of few_rows.NAMES that the kind can have
    counts: tuple[int, ...] = (10, 20, 50)
    draws: int = 5
    rows: int = 1200  # of each device, at most, that others learn from
    test_rows: int = 600  # of the held-out device, at most
    retrained_rows: int = 500  # that the few rows become when they are learnt with others; 0: none
    seed: int = 0


class Divided(NamedTuple):
    """The rows of one device: those that may be learnt from, and those that are tested."""

    device: Device | None
    train: Table
    test: Table


def divide(
    tables: Mapping[str, Table], devices: Mapping[str, Device], config: DeviceStudyConfig
) -> dict[str, Divided]:
    """By name of the device. A module is a test row of all devices, or of none."""
    found = {}
    for name, table in tables.items():
        is_test = _lots(table) < _TEST_SHARE
        rng = np.random.default_rng(config.seed)
        train, test = (rng.permutation(np.flatnonzero(part)) for part in (~is_test, is_test))
        if len(train) < max(config.counts) or len(test) == 0:
            raise TableError(
                f"{name}: {len(train)} rows to learn from and {len(test)} to test; expected "
                f"{max(config.counts)} or more, and one"
            )
        divided = table.take(train), table.take(test[: config.test_rows])
        found[name] = Divided(devices.get(name), *divided)
    return found


def study(
    divided: Mapping[str, Divided],
    held_out: str,
    config: DeviceStudyConfig,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Rows of all that is found with one device held out, as they are found given to `on_row`.

    Each has arm, what (a regressor or a method), source (the device, for "single"), measured,
    draw, and scores on test; recalibrated ones also the share of test rows within 90 % intervals.
    Arms that need descriptors are left out where there are none.
    """
    target = divided[held_out]
    others = {name: each for name, each in divided.items() if name != held_out}
    rows = []
    is_described = all(each.device is not None for each in divided.values())
    is_described &= target.train.kind != GENERIC
    parts = [_scratch(target, config), _singles(target, others, config)]
    if is_described and len(others) > 1:
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
    says, source = [], None
    for name in (*config.zero_shot, config.regressor):
        source = _fit(name, learnt, config.seed)
        says.append(source.predict(test))
        yield _row("zero_shot", name, test, says[-1])
    yield _row("zero_shot", ENSEMBLE, test, np.exp(np.mean(np.log(says), axis=0)))
    assert source is not None
    views = Views(source, known, None, target.device)
    yield from _recalibrated("recalibrated", "", views, config.methods, target, config)
    if config.retrained_rows:
        for count, draw, few in _draws(target, config):
            repeated = few.take(np.resize(np.arange(count), config.retrained_rows))
            rows = joined([learnt, with_device(repeated, target.device)])
            fitted = _fit(config.regressor, rows, config.seed)
            yield _row("retrained", config.regressor, test, fitted.predict(test), count, draw)


def _singles(
    target: Divided, others: Mapping[str, Divided], config: DeviceStudyConfig
) -> Iterator[dict[str, Any]]:
    for name, other in others.items():
        source = _fit(_regressor(other.train, config), other.train, config.seed)
        views = Views(source, (), other.device, target.device)
        yield from _recalibrated("single", name, views, config.single_methods, target, config)


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
    says = _fit(name, target.train, config.seed).predict(target.test)
    yield _row("all_rows", name, target.test, says, target.train.rows)


def _recalibrated(
    arm: str,
    source: str,
    views: Views,
    methods: Sequence[str],
    target: Divided,
    config: DeviceStudyConfig,
) -> Iterator[dict[str, Any]]:
    for count, draw, few in _draws(target, config):
        for method in methods:
            if method == "none" and (count, draw) != (min(config.counts), 0):
                continue  # it does not look at the measurements
            says = Recalibrated.of(views, method).fit(few, few, draw).predict(target.test)
            measured = 0 if method == "none" else count
            row = _row(arm, method, target.test, says, measured, draw)
            if method == "blend":
                left_out = cross_validated(views, method, few, draw)
                low, high = Interval.fit(few.latency, left_out).bounds(says)
                inside = (low <= target.test.latency) & (target.test.latency <= high)
                row["coverage"] = float(inside.mean())
            yield {**row, "source": source}


def _draws(target: Divided, config: DeviceStudyConfig) -> Iterator[tuple[int, int, Table]]:
    """(count, draw, the rows): those of a smaller count are among those of a larger one."""
    for draw in range(config.draws):
        order = np.random.default_rng([config.seed, draw]).permutation(target.train.rows)
        for count in config.counts:
            yield count, draw, target.train.take(order[:count])


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
