"""Fits many regressors to many kinds, and finds what selection wants to know of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from latency_jax.regressors import Regressor, make_regressor, regressor_names
from latency_jax.regressors.blend import Blend
from latency_jax.regressors.medn import MednRegressor, fit_together
from latency_jax.scores import Scores, score
from latency_jax.selection import Candidate, file_sizes
from latency_jax.steadying import Halves, halves
from latency_jax.table import Splits, Table

BATCH = 1000  # rows of a call whose time is given per row
_BATCHES, _SINGLES = 7, 50  # calls that are timed


class Fit(NamedTuple):
    """A fitted regressor of one kind, and how it did on rows that it was not fitted to."""

    regressor: Regressor
    candidate: Candidate  # with scores on validation
    halves: Halves  # of validation
    test: Scores
    fit_seconds: float  # of all its kinds, where a regressor is fitted to them together


def fit_all(
    splits: Mapping[str, Splits],
    names: Sequence[str],
    seed: int,
    on_fit: Callable[[list[Fit]], None] = lambda fits: None,
) -> list[Fit]:
    """Fits the named regressors to every kind of `splits` that they can be made for.

    Multi-task ones are fitted to all kinds together; a blend is one of all that `names` has before
    it, and one that learns from another is given that other where `names` has it earlier. The
    same splits, names and seed give the same regressors. Raises ValueError for a name that is
    unknown or that no kind can use. `on_fit` gets the fits of one name when they are done.
    """
    fitted: dict[str, Sequence[Regressor]] = {}
    fits: list[Fit] = []
    for name in names:
        kinds = [kind for kind in splits if name in regressor_names(kind)]
        regressors = [make_regressor(name, kind) for kind in kinds or list(splits)[:1]]
        parts = [splits[kind] for kind in kinds]
        seconds = _fit(regressors, parts, seed, fitted)
        fitted[name] = regressors
        new = [_judged(r, part, s) for r, part, s in zip(regressors, parts, seconds)]
        on_fit(new)
        fits += new
    return fits


def _fit(
    regressors: Sequence[Regressor],
    splits: Sequence[Splits],
    seed: int,
    fitted: Mapping[str, Sequence[Regressor]],
) -> list[float]:
    """Seconds for each."""
    networks = _networks(regressors)
    start = time.perf_counter()
    if networks:
        train, validation = [s.train for s in splits], [s.validation for s in splits]
        teachers = fitted.get(networks[0].recipe.teacher)
        fit_together(networks, train, validation, seed, teachers)
        return [time.perf_counter() - start] * len(networks)
    seconds = []
    for regressor, split in zip(regressors, splits):
        start = time.perf_counter()
        known = (r for of_name in fitted.values() for r in of_name if r.kind == regressor.kind)
        if isinstance(regressor, Blend) and (members := list(known)):
            regressor.combine(members, split.validation)
        else:
            regressor.fit(split.train, split.validation, seed)
        seconds.append(time.perf_counter() - start)
    return seconds


def _networks(regressors: Sequence[Regressor]) -> list[MednRegressor]:
    return [r for r in regressors if isinstance(r, MednRegressor)]


def _judged(regressor: Regressor, splits: Splits, fit_seconds: float) -> Fit:
    measured, predicted = splits.validation.latency, regressor.predict(splits.validation)
    test = score(splits.test.latency, regressor.predict(splits.test))
    judged = candidate(regressor, score(measured, predicted), splits.test)
    return Fit(regressor, judged, halves(measured, predicted), test, fit_seconds)


def candidate(regressor: Regressor, scores: Scores, rows: Table) -> Candidate:
    """What selection weighs: the given scores, times on the given rows, and the files."""
    per_row, single = prediction_seconds(regressor, rows)
    return Candidate(
        regressor.kind, regressor.name, scores, per_row, single, file_sizes(regressor.to_files())
    )


def prediction_seconds(regressor: Regressor, table: Table) -> tuple[float, float]:
    """(seconds per row in calls of 1,000 rows, seconds of a call of one row), from columns on.

    Medians of calls; rows come around again where the table has fewer. Nothing that a table
    remembers of an earlier call helps a later one.
    """
    batch = table.take(np.resize(np.arange(table.rows), BATCH))
    singles = [batch.take(slice(row, row + 1)) for row in range(_SINGLES)]
    return _seconds(regressor, [batch] * _BATCHES) / BATCH, _seconds(regressor, singles)


def _seconds(regressor: Regressor, calls: Sequence[Table]) -> float:
    regressor.predict(calls[0])  # compiles where something is compiled
    seconds = []
    for rows in calls:
        fresh = rows.take(slice(None))
        start = time.perf_counter()
        regressor.predict(fresh)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
