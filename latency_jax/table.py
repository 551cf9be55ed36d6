"""Measured latencies as a table, and its division into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from latency_jax import device_features, physics
from latency_jax.devices import is_told


class TableError(ValueError):
    """A table that cannot be used: what was given where, and what was expected."""


@dataclass(frozen=True, eq=False)
class Table:
    """N measured configurations of one module kind. Made by `make_table`, which checks them."""

    kind: str  # a registered module kind, or "generic": columns that mean nothing to us
    columns: dict[str, np.ndarray]  # each [N], of numbers, booleans or text
    latency: np.ndarray  # f64[N], seconds

    @property
    def rows(self) -> int:
        return len(self.latency)

    @cached_property
    def amounts(self) -> np.ndarray:
        """f64[7, N], `physics.amounts` of the rows, counted once; there are none of "generic"."""
        return physics.amounts(self.kind, self.columns, self.rows)

    def costs(self, at_peak: bool) -> np.ndarray:
        """f64[7, N]: `amounts`, or those as seconds at a device's peak, `device_features.at_peak`.

        Raises TableError where no columns tell the device.
        """
        if not at_peak:
            return self.amounts
        if not is_told(self.columns):
            raise TableError(
                f"{self.kind}: no column tells the device, and training had several; choose one "
                "with LatencyModel.for_device, or add its columns with devices.with_device"
            )
        return device_features.at_peak(self.amounts, self.columns)

    def take(self, rows: slice | np.ndarray) -> Table:
        """The given rows (a slice, indices or a mask) as a table of their own."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Table(self.kind, columns, self.latency[rows])


class Splits(NamedTuple):
    train: Table
    validation: Table
    test: Table


def make_table(kind: str, columns: Mapping[str, np.ndarray], latency: np.ndarray) -> Table:
    """A checked table: at least one row, equal lengths, finite numbers, positive seconds.

    Columns become bool, i64, f64 or text arrays. Raises TableError that names column and row.
    """
    latency = np.asarray(latency, np.float64)
    if latency.ndim != 1 or len(latency) == 0:
        raise TableError(f"latency has shape {latency.shape}: expected [N] with N of at least 1")
    bad = np.flatnonzero(~(np.isfinite(latency) & (latency > 0)))
    if len(bad):
        raise TableError(
            f"latency, row {bad[0]}: {latency[bad[0]]}; expected a positive number of seconds"
        )
    if not columns:
        raise TableError("no columns: expected at least one input beside the latency")
    checked = {name: _checked(name, column, len(latency)) for name, column in columns.items()}
    return Table(kind, checked, latency)


def _checked(name: str, column: np.ndarray, rows: int) -> np.ndarray:
    array = np.asarray(column)
    if array.shape != (rows,):
        raise TableError(f"column {name!r} has shape {array.shape}: expected ({rows},)")
    if array.dtype.kind not in "biufU":
        raise TableError(
            f"column {name!r} holds {array.dtype}: expected numbers, booleans or text; "
            "give one type to all of its values"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array))[0]
            raise TableError(
                f"column {name!r}, row {bad}: {array[bad]}; expected a finite number; "
                "drop the row or fill it in"
            )
        return array.astype(np.float64)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def joined(tables: Sequence[Table]) -> Table:
    """The rows of tables of one kind, one after another. Raises TableError for other columns."""
    first = tables[0]
    for table in tables[1:]:
        if table.kind != first.kind or table.columns.keys() != first.columns.keys():
            raise TableError(
                f"{table.kind} with {', '.join(table.columns)}: expected {first.kind} with "
                f"{', '.join(first.columns)}, as the table before it"
            )
    columns = {name: np.concatenate([t.columns[name] for t in tables]) for name in first.columns}
    return make_table(first.kind, columns, np.concatenate([t.latency for t in tables]))


def configurations(table: Table) -> np.ndarray:
    """i64[N]: rows with equal columns share a number; numbered as they first appear."""
    codes = [np.unique(column, return_inverse=True)[1] for column in table.columns.values()]
    _, first, group = np.unique(
        np.stack(codes, axis=1), axis=0, return_index=True, return_inverse=True
    )
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[group.ravel()]


def split(
    table: Table,
    seed: int,
    test_share: float = 0.2,
    validation_share: float = 0.1,
    by_configuration: bool = False,
) -> Splits:
    """Random splits. Test rows are those of scikit-learn's

        train_test_split(np.arange(N), test_size=test_share, random_state=seed)

    and validation rows are drawn from what is left by the same call. With `by_configuration`
    configurations are drawn in place of rows, so repeated measurements of one never straddle;
    where no configuration repeats the splits are the same.
    """
    group = configurations(table) if by_configuration else np.arange(table.rows)
    if group.max() < 2:
        raise TableError(f"{table.rows} rows, {group.max() + 1} to draw from: expected 3 or more")
    rest, test = _drawn(np.arange(group.max() + 1), test_share, seed)
    train, validation = _drawn(rest, validation_share, seed)
    if not by_configuration:
        return Splits(table.take(train), table.take(validation), table.take(test))
    return Splits(*(table.take(np.isin(group, part)) for part in (train, validation, test)))


def split_largest(
    table: Table,
    by: str | np.ndarray,
    share: float,
    seed: int,
    validation_share: float = 0.1,
) -> Splits:
    """Shifted splits: test is the share of rows with the largest `by`, no row of it in training.

    `by` is the name of a column of numbers, or [N] numbers such as the FLOPs of each row. Rows
    equal to the smallest one of test are in test too. Validation is drawn from the rest.
    """
    if not 0 < share < 1:
        raise TableError(f"share = {share}: expected more than 0 and less than 1")
    size = _column(table, by) if isinstance(by, str) else np.asarray(by)
    if size.shape != (table.rows,) or size.dtype.kind not in "biuf":
        raise TableError(
            f"sizes are {size.dtype}{list(size.shape)}: expected numbers [{table.rows}] or the "
            "name of a column of numbers"
        )
    smallest = np.sort(size)[-max(1, round(share * table.rows))]
    what = by if isinstance(by, str) else "size"
    return _shifted(table, size >= smallest, what, seed, validation_share)


def split_range(
    table: Table,
    column: str,
    low: float,
    high: float,
    seed: int,
    validation_share: float = 0.1,
) -> Splits:
    """Shifted splits: test is every row where low <= column <= high, like one level of load."""
    values = _column(table, column)
    if values.dtype.kind not in "biuf":
        raise TableError(f"column {column!r} holds text: expected numbers, of which to hold some")
    held_out = (values >= low) & (values <= high)
    if not held_out.any():
        raise TableError(
            f"no row has {column} from {low:g} to {high:g}: it goes from {values.min():g} to "
            f"{values.max():g}"
        )
    return _shifted(table, held_out, column, seed, validation_share)


def split_text(
    table: Table, column: str, text: str, seed: int, validation_share: float = 0.1
) -> Splits:
    """Shifted splits: test is every row where a column of texts says `text`, like one device."""
    values = _column(table, column)
    if text not in values:
        known = ", ".join(map(repr, np.unique(values).tolist()))
        raise TableError(f"no row has {column} = {text!r}: expected one of {known}")
    return _shifted(table, values == text, column, seed, validation_share)


def _shifted(
    table: Table, held_out: np.ndarray, what: str, seed: int, validation_share: float
) -> Splits:
    rest = np.flatnonzero(~held_out)
    if len(rest) < 2:
        raise TableError(
            f"{what}: {held_out.sum()} of {table.rows} rows are held out; expected 2 or more left "
            "to learn from"
        )
    train, validation = _drawn(rest, validation_share, seed)
    return Splits(table.take(train), table.take(validation), table.take(held_out))


def _drawn(rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the rows, and the share of them that was drawn."""
    # Importing it takes a second, and a prediction needs none of it.
    from sklearn.model_selection import train_test_split

    left, drawn = train_test_split(rows, test_size=share, random_state=seed)
    return left, drawn


def _column(table: Table, name: str) -> np.ndarray:
    if name not in table.columns:
        raise TableError(f"no column {name!r}: expected one of {', '.join(table.columns)}")
    return table.columns[name]
