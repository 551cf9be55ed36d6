"""Intervals that hold, and inputs that nothing is known about.

Split conformal prediction (Lei et al., arXiv 1604.04173) on log seconds: rows that were not
trained on say how far off predictions are, and an interval reaches as far as the share `coverage`
of those do. It then holds for new rows of the same distribution, whatever the regressor is; for
inputs outside of it nothing is promised, so `Domain` flags them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latency_jax.columns import GENERIC, needed_column, number_columns, text_columns
from latency_jax.devices import NAME
from latency_jax.modules import get_kind
from latency_jax.parameters import CONDITIONS, Value
from latency_jax.table import Table, TableError

_NORMALISED_ROWS = 400  # with fewer, halves of them say less than the difficulty is worth
_ROWS_A_KNOT = 50
_PRIOR_ROWS = 20  # of mean difficulty, that every knot is drawn to
_SLACK = 1e-9  # of a range, for numbers that went through text


@dataclass(frozen=True)
class Interval:
    """log |measured / predicted| <= reach * spread, with the spread read off the prediction.

    Short calls are measured less well than long ones, so the spread is a line over log predicted
    seconds: 1 everywhere, or through `knots`.
    """

    coverage: float
    reach: float | None  # None: too few rows were there to promise anything
    knots: tuple[float, ...] = ()  # log seconds, rising
    spreads: tuple[float, ...] = ()  # mean |log(measured / predicted)| around each knot

    @classmethod
    def fit(cls, measured: np.ndarray, predicted: np.ndarray, coverage: float = 0.9) -> Interval:
        """From seconds f64[N] of rows that the regressor was not fitted to.

        Raises ValueError for arrays that are not two of [N] and for a coverage outside (0, 1).
        """
        if measured.ndim != 1 or len(measured) == 0 or measured.shape != predicted.shape:
            raise ValueError(
                f"measured {measured.shape}, predicted {predicted.shape}: expected two of [N]"
            )
        if not 0 < coverage < 1:
            raise ValueError(f"coverage = {coverage}: expected more than 0 and less than 1")
        log_predicted = np.log(predicted)
        error = np.abs(np.log(measured) - log_predicted)
        if len(error) < _NORMALISED_ROWS:
            return cls(coverage, _reach(error, coverage))
        # A row that shaped the spread is no fair judge of its reach.
        knots, spreads = _spreads(log_predicted[::2], error[::2])
        shaped = cls(coverage, None, knots, spreads)
        reach = _reach(error[1::2] / shaped._spread(log_predicted[1::2]), coverage)
        return cls(coverage, reach, knots, spreads)

    def bounds(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of predicted seconds, all f64[N]; 0 and infinity where nothing is known."""
        if self.reach is None:
            return np.zeros_like(predicted), np.full_like(predicted, np.inf)
        factor = np.exp(self.reach * self._spread(np.log(predicted)))
        return predicted / factor, predicted * factor

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Interval:
        """Raises ValueError for what `to_json` did not write."""
        try:
            reach = values["reach"]
            interval = cls(
                float(values["coverage"]),
                None if reach is None else float(reach),
                tuple(map(float, values["knots"])),
                tuple(map(float, values["spreads"])),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not an interval: {error!r}") from error
        if len(interval.knots) != len(interval.spreads):
            raise ValueError("not an interval: as many spreads as knots expected")
        return interval

    def _spread(self, log_predicted: np.ndarray) -> np.ndarray | float:
        return np.interp(log_predicted, self.knots, self.spreads) if self.knots else 1.0


def _reach(error: np.ndarray, coverage: float) -> float | None:
    """The smallest bound that a new row keeps with the given probability, or None."""
    rank = int(np.ceil((len(error) + 1) * coverage))
    return float(np.sort(error)[rank - 1]) if rank <= len(error) else None


def _spreads(
    log_predicted: np.ndarray, error: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    order = np.argsort(log_predicted, kind="stable")
    groups = np.array_split(order, min(8, len(order) // _ROWS_A_KNOT))
    knots = [float(log_predicted[group].mean()) for group in groups]
    prior = _PRIOR_ROWS * error.mean()
    spreads = [float((error[g].sum() + prior) / (len(g) + _PRIOR_ROWS)) for g in groups]
    # Rows of no error at all, as of a table that is its own regressor, must not divide by 0.
    return tuple(knots), tuple(max(spread, 1e-9) for spread in spreads)


@dataclass(frozen=True)
class Domain:
    """What training held: ranges of numbers and of work, and the categories.

    Of work, too: a row may have every number within its range and be larger than any other.
    Distances to training rows would see holes inside of the ranges, at 10 to 50 µs a row against
    the 1 µs of a prediction, so they are left out.
    """

    kind: str
    ranges: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]
    work: tuple[tuple[float, float], ...]  # of FLOPs and of bytes; none for the generic kind

    @classmethod
    def fit(cls, train: Table) -> Domain:
        columns = {name: train.columns[name] for name in number_columns(train)}
        # A device that was not measured is outside, whatever its numbers are.
        texts = [*text_columns(train), *((NAME,) if NAME in train.columns else ())]
        return cls(
            train.kind,
            {name: (float(column.min()), float(column.max())) for name, column in columns.items()},
            {n: tuple(np.unique(train.columns[n].astype(str)).tolist()) for n in texts},
            tuple((float(amount.min()), float(amount.max())) for amount in _work(train)),
        )

    def contains(self, table: Table) -> np.ndarray:
        """bool[N]. Raises TableError for a column that is missing or holds text for numbers."""
        numbers = np.empty((len(self.ranges) + len(self.work), table.rows))
        for position, name in enumerate(self.ranges):
            column = needed_column(table, name)
            if column.dtype.kind == "U":
                raise TableError(f"column {name!r} holds text: expected numbers, as in training")
            numbers[position] = column
        for position, amount in enumerate(_work(table), len(self.ranges)):
            numbers[position] = amount
        low, high = self._bounds
        inside: np.ndarray = np.all((numbers >= low) & (numbers <= high), axis=0)
        for name, known in self.categories.items():
            texts = needed_column(table, name).astype(str).tolist()
            inside &= [text in known for text in texts]
        for name, default in self._defaults.items():
            if name in table.columns:
                inside &= table.columns[name] == default
        return inside

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """f64[M, 1] each, of ranges and then of work."""
        bounds = np.array([*self.ranges.values(), *self.work]).reshape(-1, 2)
        slack = _SLACK * np.abs(bounds).max(axis=1, initial=0)
        return (bounds[:, 0] - slack)[:, None], (bounds[:, 1] + slack)[:, None]

    @cached_property
    def _defaults(self) -> dict[str, Value]:
        """What the kind's other parameters were in training, where nothing was said of them."""
        if self.kind == GENERIC:
            return {}
        parameters = (*get_kind(self.kind).parameters, *CONDITIONS)
        known = {*self.ranges, *self.categories}
        return {p.name: p.default for p in parameters if p.name not in known}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Domain:
        """Raises ValueError for what `to_json` did not write."""
        try:
            return cls(
                str(values["kind"]),
                {str(n): (float(low), float(high)) for n, (low, high) in values["ranges"].items()},
                {str(n): tuple(map(str, known)) for n, known in values["categories"].items()},
                tuple((float(low), float(high)) for low, high in values["work"]),
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ValueError(f"not a domain: {error!r}") from error


def _work(table: Table) -> tuple[np.ndarray, ...]:
    """FLOPs and bytes, f64[N] each; nothing for the generic kind."""
    if table.kind == GENERIC:
        return ()
    return table.amounts[0], table.amounts[1:4].sum(axis=0)
