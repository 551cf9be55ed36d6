"""Encoded rows of one trace on disk: any record, the rows of a window, how often PCs occur."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from packd_jax.shards.index import read_index
from packd_jax.shards.record_format import RECORD_ROWS, Record, RecordFormat
from packd_jax.shards.write_shard import shard_path
from packd_jax.traces.load_trace import TraceError, counted_rows

_READ_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # what is fastest for single records
_OPEN_SHARDS = 256  # files held open at most
_RECORDS = 64  # read at a time


class ShardStore:
    """All rows [look_back, N - horizon) of a trace of N rows, as records in shards.

    Rows are those of the trace; the first row of record 0 is `look_back`. Any number of threads
    may read. Raises TraceError where the index or a shard is missing, partial or damaged.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.directory = Path(directory)
        self.origin, self.facts = read_index(self.directory)
        self.features = self.origin.features
        self.first = self.features.look_back
        around = self.first + self.features.horizon
        self.examples = max(self.facts.rows - around, 0)  # rows that are encoded
        self._format = RecordFormat(self.features)
        self._readers: OrderedDict[int, ArrayRecordReader] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def records(self) -> int:
        return -(-self.examples // RECORD_ROWS)

    def read(self, numbers: Sequence[int]) -> Iterator[Record]:
        """The records of these numbers, in this order; quickest where numbers ascend."""
        start = 0
        while start < len(numbers):
            shard = int(numbers[start]) // self.origin.shard_records
            stop = start + 1
            while (
                stop < min(len(numbers), start + _RECORDS)
                and int(numbers[stop]) // self.origin.shard_records == shard
            ):
                stop += 1
            yield from self._read_shard(shard, [int(number) for number in numbers[start:stop]])
            start = stop

    def window_rows(self, start: int, stop: int, unit: str) -> slice:
        """As `load_trace.window_rows` of the trace."""
        if unit != "instructions":
            return counted_rows(self.facts.rows, start, stop, unit)
        return slice(self._first_row_from(start), self._first_row_from(stop))

    def pc_counts(self, rows: slice) -> np.ndarray:
        """How often each PC of the dictionary occurs in the trace's rows: i64[P].

        Raises ValueError for rows behind the last example, whose PCs are not kept.
        """
        if rows.stop > self.first + self.examples:
            raise ValueError(f"rows to {rows.stop}: expected at most {self.first + self.examples}")
        counts = np.zeros(len(self.facts.pcs), np.int64)
        if rows.stop <= rows.start:
            return counts
        # The first record holds the PCs of the look-back before it too.
        first = max(rows.start - self.first, 0) // RECORD_ROWS
        last = max(rows.stop - 1 - self.first, 0) // RECORD_ROWS
        for number, record in zip(range(first, last + 1), self.read(range(first, last + 1))):
            at = number * RECORD_ROWS  # the trace's row of the column's first value
            begin = rows.start if number == first else at + self.first
            own = record.columns["pc"][begin - at : rows.stop - at]
            counts += np.bincount(own, minlength=len(counts))
        return counts

    def _first_row_from(self, instr_id: int) -> int:
        """The first row whose highest id so far is `instr_id` or more."""
        facts = self.facts
        head = np.maximum.accumulate(facts.first_instr_id)
        if len(head) and head[-1] >= instr_id:
            return int(np.searchsorted(head, instr_id))
        number = int(np.searchsorted(facts.latest_instr_id, instr_id))
        if number < self.records:
            (record,) = self.read([number])
            ids = np.maximum.accumulate(record.columns["instr_id"][: record.rows])
            return self.first + number * RECORD_ROWS + int(np.searchsorted(ids, instr_id))
        tail = np.maximum.accumulate(facts.last_instr_id)
        return facts.rows - len(tail) + int(np.searchsorted(tail, instr_id))

    def _read_shard(self, shard: int, numbers: list[int]) -> Iterator[Record]:
        path = shard_path(self.directory, shard)
        places = [number - shard * self.origin.shard_records for number in numbers]
        try:
            contents = self._reader(shard).read(places)
        except Exception as error:  # array_record raises what its status codes become
            raise self._damaged(path, f"records {places[0]} to {places[-1]}", error) from error
        for number, place, content in zip(numbers, places, contents):
            try:
                record = self._format.unpack(content, number)
            except ValueError as error:
                raise self._damaged(path, f"record {place}", error) from error
            yield record

    def _reader(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            reader = self._readers.pop(shard, None)
            if reader is None:
                path = shard_path(self.directory, shard)
                reader = ArrayRecordReader(
                    str(path), _READ_OPTIONS, file_reader_buffer_size=1 << 15
                )
            self._readers[shard] = reader
            if len(self._readers) > _OPEN_SHARDS:
                self._readers.popitem(last=False)  # closed when nobody reads from it any more
            return reader

    def _damaged(self, path: Path, where: str, error: Exception) -> TraceError:
        reason = " ".join(str(error).split())
        expected = "the shard as it was written; remove the directory, and encode the trace again"
        return TraceError(path, where, f"cannot be read ({reason[:200]})", expected)
