"""Examples that stay on disk: rows are read from shards when they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numba
import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.features import SEGMENTS, Examples
from packd_jax.shards.record_format import RECORD_ROWS, Record, stored_features
from packd_jax.shards.store import ShardStore
from packd_jax.tokens import pc_tokens


class Part(NamedTuple):
    """Consecutive rows of one trace."""

    store: ShardStore
    rows: slice  # of the trace; all of them are encoded


class _Visit(NamedTuple):
    """Rows that are in one record: where they are there, and where they go."""

    part: int
    record: Record
    first: int  # the trace's row of the record's first
    local: np.ndarray  # i64[n], rows of the record
    place: np.ndarray  # i64[n], rows of the result


class ShardedExamples:
    """N rows of one trace after another, as `Examples` of the same windows would be, bit by bit.

    A call of `take` reads each record that it needs once, whatever the order of the rows. Any
    number of threads may take rows at the same time.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        features: FeatureConfig,
        pc_vocabulary: np.ndarray,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        for part in parts:
            first, stop = part.store.first, part.store.first + part.store.examples
            if stored_features(part.store.features) != stored_features(features):
                raise ValueError(f"{part.store.directory}: expected shards of {features}")
            if not first <= part.rows.start <= part.rows.stop <= stop:
                raise ValueError(f"{part.rows}: expected encoded rows, {first} to {stop}")
        self.parts = tuple(parts)
        self.features, self.pc_vocabulary = features, pc_vocabulary
        self._extra = dict(extra or {})
        sizes = [part.rows.stop - part.rows.start for part in parts]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        offsets = [part.rows.start - part.store.first for part in parts]
        self._shifts = np.array(offsets, np.int64) - self._starts[:-1]
        counts = [part.store.records for part in parts]
        self._records = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        self._tokens = [pc_tokens(p.store.facts.pcs, pc_vocabulary, features) for p in parts]

    @property
    def rows(self) -> int:
        return int(self._starts[-1])

    def with_input(self, name: str, values: np.ndarray) -> ShardedExamples:
        """The same examples with one more input, `[N, ...]`, which is held in memory."""
        if len(values) != self.rows:
            raise ValueError(f"{name} {values.shape}: expected {self.rows} rows")
        extra = {**self._extra, name: values}
        return ShardedExamples(self.parts, self.features, self.pc_vocabulary, extra)

    def take(self, rows: np.ndarray | slice) -> Examples:
        """The given rows, i64[n] or a slice, in this order; IndexError for one that is not."""
        asked = self._rows(rows)
        inputs, labels = self._empty(len(asked))
        trace_row = np.empty(len(asked), np.int64)
        past = self.features.look_back
        for visit in self._visits(asked):
            columns, local, place = visit.record.columns, visit.local, visit.place
            _put_rows(columns["labels"], local, labels, place)
            trace_row[place] = visit.first + local
            if self.features.encoding == "segments":
                _put_segments(columns["block"], local, inputs["segments"], place)
                continue
            tokens = self._tokens[visit.part][columns["pc"]]
            _put_windows(tokens, local, inputs["pc"], place)
            inputs["offset"][place] = columns["block"][local + past] & 63
            for name in ("delta", "local", "popularity"):
                if name in inputs:
                    _put_rows(columns[name], local, inputs[name], place)
            if "confidence" in inputs:
                inputs["confidence"][place] = columns["confidence"][local]
        more = {name: values[asked] for name, values in self._extra.items()}
        return Examples(inputs | more, labels, trace_row)

    def windows(self, feature: str, look_back: int, rows: np.ndarray | slice) -> np.ndarray:
        """What windows are clustered by, f64[n, E]; see `clustering.window_features`.

        `look_back` is at most that of the features.
        """
        past = self.features.look_back
        if feature not in ("a", "d", "i", "t"):
            raise ValueError(f"feature = {feature!r}: expected 'a', 'd', 'i' or 't'")
        if not 1 <= look_back <= past:
            raise ValueError(f"look_back = {look_back}: expected 1 to {past}")
        asked = self._rows(rows)
        found = np.empty((len(asked), 1 if feature == "t" else look_back), np.float64)
        back = np.arange(1 - look_back, 1)
        for visit in self._visits(asked):
            block, at = visit.record.columns["block"], visit.local[:, None] + past
            if feature == "t":
                values = block[at] & 63
            elif feature == "i":
                pcs = self.parts[visit.part].store.facts.pcs
                values = pcs[visit.record.columns["pc"][at + back]]
            else:
                values = block[at + back]
                if feature == "d":
                    values = values - block[at + back - 1]
            found[visit.place] = values
        return found

    def _rows(self, rows: np.ndarray | slice) -> np.ndarray:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self.rows))
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()}: expected 0 to {self.rows - 1}")
        return rows

    def _empty(self, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        features, past = self.features, self.features.look_back
        labels = np.empty((rows, features.label_bits // 8), np.uint8)
        if features.encoding == "segments":
            return {"segments": np.empty((rows, past, SEGMENTS), np.uint8)}, labels
        shapes: dict[str, tuple[int, ...]] = {"delta": (past,), "pc": (past,), "offset": ()}
        if features.local_deltas:
            shapes["local"] = (features.local_deltas,)
        if features.local_confidence:
            shapes["confidence"] = ()
        if features.popularity_entries:
            shapes["popularity"] = (4,)
        return {name: np.empty((rows, *s), np.uint8) for name, s in shapes.items()}, labels

    def _visits(self, asked: np.ndarray) -> Iterator[_Visit]:
        """The asked rows, record by record."""
        part = np.searchsorted(self._starts[1:], asked, side="right")
        encoded = asked + self._shifts[part]  # from 0 on the rows that are encoded
        # Records of one part after those of another.
        records, place = encoded // RECORD_ROWS + self._records[part], np.arange(len(asked))
        if np.any(records[1:] < records[:-1]):
            place = _ascending(records)
            encoded, records = encoded[place], records[place]
        edges = np.concatenate([[0], np.flatnonzero(np.diff(records)) + 1, [len(records)]])
        numbers = records[edges[:-1]] if len(records) else records
        bounds = np.searchsorted(numbers, self._records)
        for one in range(len(self.parts)):
            store, here = self.parts[one].store, range(bounds[one], bounds[one + 1])
            own = numbers[here.start : here.stop] - self._records[one]
            for i, number, record in zip(here, own.tolist(), store.read(own)):
                rows, first = slice(edges[i], edges[i + 1]), number * RECORD_ROWS
                local = encoded[rows] - first
                yield _Visit(one, record, store.first + first, local, place[rows])


def _ascending(records: np.ndarray) -> np.ndarray:
    """Where the values i64[n] are in ascending order, equal ones as they come: i64[n]."""
    low = records.min()
    spread = records.max() - low + 1
    if spread > 8 * len(records):
        return np.argsort(records, kind="stable")
    return _counting_sort(records, low, spread)


@numba.njit(cache=True, nogil=True)
def _counting_sort(values, low, spread):
    """As `_ascending`, in a sixth of the time where there are many of each value."""
    ends = np.zeros(spread + 1, np.int64)
    for value in values:
        ends[value - low + 1] += 1
    for i in range(spread):
        ends[i + 1] += ends[i]
    place = np.empty(len(values), np.int64)
    for i in range(len(values)):
        own = values[i] - low
        place[ends[own]] = i
        ends[own] += 1
    return place


@numba.njit(cache=True, nogil=True)
def _put_rows(source, local, target, place):
    for i in range(len(local)):
        for j in range(target.shape[1]):
            target[place[i], j] = source[local[i], j]


@numba.njit(cache=True, nogil=True)
def _put_windows(values, local, target, place):
    for i in range(len(local)):
        for j in range(target.shape[1]):
            target[place[i], j] = values[local[i] + 1 + j]


@numba.njit(cache=True, nogil=True)
def _put_segments(block, local, target, place):
    for i in range(len(local)):
        for j in range(target.shape[1]):
            value = block[local[i] + 1 + j]
            for segment in range(target.shape[2]):
                target[place[i], j, segment] = value & 63
                value >>= 6
