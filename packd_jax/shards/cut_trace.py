"""A trace that comes in chunks, cut into the pieces that shards are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.shards.pc_dictionary import PcDictionary
from packd_jax.shards.record_format import RECORD_ROWS
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.window_features import WindowTables


class Piece(NamedTuple):
    """What the rows of one shard are encoded from; L is the look-back, H the horizon."""

    shard: int
    rows: int  # R, rows that are examples
    block: np.ndarray  # i64[L + R + H]
    counted: np.ndarray  # bool[L + R + H], whether an access may be a label
    pc: np.ndarray  # u32[L + R], numbers in the dictionary
    instr_id: np.ndarray  # i64[R]
    tokens: dict[str, np.ndarray]  # of the tables, `[R, ...]`


class TraceFacts(NamedTuple):
    """What is known of a trace when all of it has passed; L is the look-back."""

    rows: int
    pcs: np.ndarray  # u64[P], the dictionary
    latest_instr_id: np.ndarray  # i64[records], the highest id up to the end of each record
    first_instr_id: np.ndarray  # i64[L], before the first example
    last_instr_id: np.ndarray  # i64[<= H], behind the last one
    instr_ids: tuple[int, int]  # lowest and highest


class CutTrace:
    """Iterates over the pieces of a trace, and knows its `facts` when that has ended.

    Holds one piece and a chunk at a time. What passes from piece to piece is small: the dictionary
    of PCs, the tables of the window tokens, the last L + H loads. Pieces that `is_wanted(shard,
    rows)` denies pass through all this and are not given.
    """

    def __init__(
        self,
        chunks: Iterable[LoadTrace],
        features: FeatureConfig,
        piece_rows: int,
        is_wanted: Callable[[int, int], bool] = lambda shard, rows: True,
    ) -> None:
        self._chunks, self._features, self._piece_rows = chunks, features, piece_rows
        self._is_wanted = is_wanted
        self._dictionary, self._tables = PcDictionary(), WindowTables(features)
        self._latest: list[np.ndarray] = []
        self._highest, self._lowest = -1, 2**63 - 1
        self._first_instr_id = np.zeros(0, np.int64)
        self.facts: TraceFacts | None = None

    def __iter__(self) -> Iterator[Piece]:
        around = self._features.look_back + self._features.horizon
        room = self._piece_rows + around
        shard, filled, columns = 0, 0, _Columns.empty(room)
        for chunk in self._chunks:
            self._lowest = min(self._lowest, int(chunk.instr_id.min()))
            given = _Columns.of(chunk, self._dictionary, self._features)
            at = 0
            while at < chunk.rows:
                count = min(room - filled, chunk.rows - at)
                columns.put(filled, given, slice(at, at + count))
                filled, at = filled + count, at + count
                if filled == room:
                    yield from self._piece(shard, self._piece_rows, columns)
                    shard, before = shard + 1, columns
                    # A new one, as the piece goes to another thread; it begins with the overlap.
                    columns, filled = _Columns.empty(room), around
                    columns.put(0, before, slice(room - around, room))
        rest = max(filled - around, 0)
        if rest:
            yield from self._piece(shard, rest, columns)
        self._finish(shard * self._piece_rows + filled, filled, columns)

    def _piece(self, shard: int, rows: int, columns: _Columns) -> Iterator[Piece]:
        past = self._features.look_back
        # The tables see each load once: the first look-back here, else with the piece before.
        fresh = slice(0 if shard == 0 else past, past + rows)
        start, wanted = past - fresh.start, self._is_wanted(shard, rows)
        tokens = {}
        if self._features.encoding == "tokens":
            own = columns.raw_pc[fresh], columns.block[fresh]
            tokens = self._tables.read(*own, start if wanted else len(own[0]))
        ids = columns.instr_id[past : past + rows]
        if shard == 0:
            self._first_instr_id = columns.instr_id[:past].copy()
            self._highest = max(self._highest, int(self._first_instr_id.max()))
        starts = np.arange(0, rows, RECORD_ROWS)
        highest = np.maximum.accumulate(np.maximum.reduceat(ids, starts))
        self._latest.append(np.maximum(highest, self._highest))
        self._highest = int(self._latest[-1][-1])
        if wanted:
            stop = past + rows + self._features.horizon
            block, counted = columns.block[:stop], columns.counted[:stop]
            yield Piece(shard, rows, block, counted, columns.pc[: past + rows], ids, tokens)

    def _finish(self, total: int, filled: int, columns: _Columns) -> None:
        past, horizon = self._features.look_back, self._features.horizon
        rest = max(filled - past - horizon, 0)
        last = columns.instr_id[past + rest : filled].copy()
        if not self._latest:  # too short for an example
            self._first_instr_id = columns.instr_id[: min(past, filled)].copy()
        highest = max(
            self._highest, *(int(i.max(initial=-1)) for i in (self._first_instr_id, last))
        )
        self.facts = TraceFacts(
            total,
            self._dictionary.pcs,
            np.concatenate([np.zeros(0, np.int64), *self._latest]),
            self._first_instr_id,
            last,
            (self._lowest, highest),
        )


class _Columns(NamedTuple):
    """What is needed of loads, side by side."""

    block: np.ndarray  # i64[N]
    counted: np.ndarray  # bool[N]
    pc: np.ndarray  # u32[N], numbers
    raw_pc: np.ndarray  # u64[N]
    instr_id: np.ndarray  # i64[N]

    @classmethod
    def empty(cls, rows: int) -> _Columns:
        dtypes = (np.int64, np.bool_, np.uint32, np.uint64, np.int64)
        return cls(*(np.empty(rows, dtype) for dtype in dtypes))

    @classmethod
    def of(cls, chunk: LoadTrace, dictionary: PcDictionary, features: FeatureConfig) -> _Columns:
        counted = ~chunk.hit if features.miss_labels else np.ones(chunk.rows, np.bool_)
        return cls(chunk.block, counted, dictionary.numbers(chunk.pc), chunk.pc, chunk.instr_id)

    def put(self, at: int, other: _Columns, rows: slice) -> None:
        for column, values in zip(self, other):
            column[at : at + rows.stop - rows.start] = values[rows]
