"""Regressor inputs: what the columns of a table say, and what physics makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from latency_jax import device_features, physics
from latency_jax.columns import GENERIC, needed_column, number_columns, text_columns
from latency_jax.devices import is_told
from latency_jax.table import Table, TableError

WIDE = 10.0  # columns whose largest value is this many times their smallest get a logarithm
WIDE_FORMS = ("raw", "log", "both")
TILES = (2, 4, 8, 32, 128)


@dataclass(frozen=True)
class FeatureEncoder:
    """From tables of one kind to features f64[N, F]; made by `fit` on training rows alone.

    Features, in this order, less those that do not vary in training:

        numbers and booleans   as they are
        log(column)            log1p of non-negative columns of a wide range
        log physics            log1p of FLOPs, of input, weight, output and all bytes, the log of
                               FLOPs per byte, and log1p of the CPU work of kinds that have one;
                               none for the generic kind
        device features        those of device_features.py, where columns tell the device
        (column % tile) / tile how full the last tile is, where tiles are asked for
        column = category      1 or 0; all 0 for a category that training did not hold. Numbers
                               are categories too where the kind's parameter is a text

    `shift` and `scale` make features of mean 0 and deviation 1 in training, where asked for.
    """

    kind: str
    numbers: tuple[str, ...]
    raw: tuple[int, ...]  # positions among the numbers, as are the next two
    logs: tuple[int, ...]
    tiled: tuple[int, ...]
    tiles: tuple[int, ...]
    categories: Mapping[str, tuple[str, ...]]
    kept: tuple[int, ...]
    names: tuple[str, ...]  # of the F features that are kept
    shift: tuple[float, ...]  # [F], or empty
    scale: tuple[float, ...]
    device: bool = False  # whether columns tell the device, so that its features are there

    @classmethod
    def fit(
        cls,
        table: Table,
        wide: str = "both",
        standardized: bool = False,
        tiles: tuple[int, ...] = (),
    ) -> FeatureEncoder:
        """Learns categories, ranges, means and deviations from training rows.

        `wide` says what becomes of columns of a wide range: "raw", "log" or "both". `tiles` such
        as TILES adds remainders of the whole-number columns that exceed the widest tile.
        Raises TableError where no feature varies.
        """
        if wide not in WIDE_FORMS:
            raise ValueError(f"wide = {wide!r}: expected one of {WIDE_FORMS}")
        columns = table.columns
        texts, numbers = text_columns(table), number_columns(table)
        logs, tiled = [], []
        for position, name in enumerate(numbers):
            low, high = columns[name].min(), columns[name].max()
            if low >= 0 and high >= WIDE * max(low, 1):
                logs.append(position)
            if tiles and columns[name].dtype.kind == "i" and low >= 0 and high > max(tiles):
                tiled.append(position)
        raw = [p for p in range(len(numbers)) if wide != "log" or p not in logs]
        encoder = cls(
            kind=table.kind,
            numbers=numbers,
            raw=tuple(raw),
            logs=tuple(logs) if wide != "raw" else (),
            tiled=tuple(tiled),
            tiles=tuple(tiles),
            categories={
                name: tuple(np.unique(columns[name].astype(str)).tolist()) for name in texts
            },
            kept=(),
            names=(),
            shift=(),
            scale=(),
            device=is_told(columns) and table.kind != GENERIC,
        )
        full = encoder._full(table, encoder._numbers(table))
        kept = np.flatnonzero(full.max(axis=1) > full.min(axis=1))
        if len(kept) == 0:
            raise TableError("no column varies over the training rows: there is nothing to learn")
        names = encoder._full_names()
        encoder = replace(
            encoder, kept=tuple(kept.tolist()), names=tuple(names[position] for position in kept)
        )
        if not standardized:
            return encoder
        return replace(
            encoder,
            shift=tuple(full[kept].mean(axis=1).tolist()),
            scale=tuple(full[kept].std(axis=1).tolist()),
        )

    def transform(self, table: Table) -> np.ndarray:
        """Features f64[N, F]. Raises TableError for another kind, a missing column or its type."""
        constants, numbers = self._constants, self._numbers(table)
        make = self._single if table.rows == 1 and not self.device else self._full
        features = make(table, numbers)
        if len(self.kept) < len(features):
            features = features[constants.kept]
        if self.shift:
            features -= constants.shift
            features *= constants.per_scale
        return features.T

    @property
    def sizes(self) -> int:
        """How many features, the first ones, are numbers and physics: no tiles, no categories."""
        end = len(self.raw) + len(self.logs) + len(self._physics_names)
        return sum(position < end for position in self.kept)

    @property
    def _physics_names(self) -> list[str]:
        names = [] if self.kind == GENERIC else physics.feature_names(self.kind)
        return [*names, *device_features.NAMES] if self.device else names

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`; `from_json` brings back an equal encoder."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in ((f.name, getattr(self, f.name)) for f in fields(self))
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureEncoder:
        """Raises ValueError for what `to_json` did not write."""
        try:
            lists: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
            }
            lists["categories"] = {n: tuple(v) for n, v in values["categories"].items()}
            return cls(**lists)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a feature encoder: {error!r}") from error

    def _full(self, table: Table, columns: Sequence[np.ndarray]) -> np.ndarray:
        """Every feature before any is dropped, f64[G, N]: a feature's numbers lie together."""
        constants = self._constants
        numbers = np.empty((len(columns), table.rows))
        for position, column in enumerate(columns):
            numbers[position] = column
        parts = [numbers[constants.raw]]
        if self.logs:
            # What lies below zero was not seen in training; its logarithm stays finite.
            parts.append(np.log1p(np.maximum(numbers[constants.logs], 0)))
        if self.kind != GENERIC:
            parts.append(physics.features(self.kind, table.amounts))
        if self.device:
            parts.append(device_features.features(table.amounts, table.columns))
        if self.tiled:
            filled = numbers[constants.tiled][:, None] * constants.per_tile
            filled -= np.floor(filled)
            parts.append(filled.reshape(-1, table.rows))
        for name, texts in constants.categories.items():
            parts.append(self._text(table, name) == texts)
        return np.concatenate(parts)

    def _single(self, table: Table, columns: Sequence[np.ndarray]) -> np.ndarray:
        """The same of one row, f64[G, 1]: plain numbers take half as long as arrays of one."""
        numbers = [column.item() for column in columns]
        features = [numbers[p] for p in self.raw]
        features += [math.log1p(max(numbers[p], 0)) for p in self.logs]
        if self.kind != GENERIC:
            features += physics.features_of_one(self.kind, table.amounts[:, 0])
        features += [numbers[p] / tile % 1 for p in self.tiled for tile in self.tiles]
        for name, texts in self.categories.items():
            text = self._text(table, name).item()
            features += [text == value for value in texts]
        return np.array(features, np.float64)[:, None]

    def _numbers(self, table: Table) -> list[np.ndarray]:
        if table.kind != self.kind:
            raise TableError(f"the table is of kind {table.kind!r}: expected {self.kind!r}")
        columns = [needed_column(table, name) for name in self.numbers]
        for name, column in zip(self.numbers, columns):
            if column.dtype.kind == "U":
                raise TableError(f"column {name!r} holds text: expected numbers, as in training")
        return columns

    @cached_property
    def _constants(self) -> _Constants:
        return _Constants(
            raw=np.array(self.raw, np.int64),
            logs=np.array(self.logs, np.int64),
            tiled=np.array(self.tiled, np.int64),
            per_tile=1 / np.array(self.tiles, np.float64)[:, None],
            categories={name: np.array(known)[:, None] for name, known in self.categories.items()},
            kept=np.array(self.kept, np.int64),
            shift=np.array(self.shift)[:, None],
            per_scale=1 / np.array(self.scale)[:, None],
        )

    def _full_names(self) -> list[str]:
        names = [self.numbers[p] for p in self.raw]
        names += [f"log({self.numbers[p]})" for p in self.logs]
        names += self._physics_names
        names += [f"{self.numbers[p]} % {tile}" for p in self.tiled for tile in self.tiles]
        names += [f"{name} = {value}" for name, known in self.categories.items() for value in known]
        return names

    def _text(self, table: Table, name: str) -> np.ndarray:
        column = needed_column(table, name)
        if column.dtype.kind != "U" and self.kind == GENERIC:
            raise TableError(f"column {name!r} holds numbers: expected text, as in training")
        return column if column.dtype.kind == "U" else column.astype(str)


class _Constants(NamedTuple):
    """The encoder's tuples as arrays: making them anew would take as long as a row does."""

    raw: np.ndarray
    logs: np.ndarray
    tiled: np.ndarray
    per_tile: np.ndarray  # [T, 1], as the next three
    categories: dict[str, np.ndarray]
    kept: np.ndarray
    shift: np.ndarray
    per_scale: np.ndarray
