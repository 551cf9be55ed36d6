"""A record: 1,024 consecutive rows of a trace, encoded, as one block of bytes.

A header of 32 bytes (magic, number of the record, rows in it, what its columns are as a CRC) and
then the columns one after another, little end first, each beginning at a multiple of 8 bytes:

    block     i64[L + 1024]      block numbers of the L accesses before the rows, and of the rows
    pc        u32[L + 1024]      their PCs, as numbers in the trace's dictionary of PCs
    instr_id  i64[1024]
    labels    u8[1024, D/8]      as in `Examples`
    delta     u8[1024, L]        as in `Examples`, encoding "tokens"; and if asked for:
    local     u8[1024, P]
    confidence u8[1024]
    popularity u8[1024, 4]

What a window holds of `block` and `pc` is not written out: it is made faster than it is read, and
PC tokens depend on the training rows. All records are equally long; rows that the last one has not
are zeros.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.config.features import POPULARITY_BLOCKS

RECORD_ROWS = 1024
_MAGIC = b"packd-1\n"
_HEADER = struct.Struct("<8sQQQ")  # magic, number, rows, CRC of the columns


class Column(NamedTuple):
    """One array of a record."""

    name: str
    dtype: str  # as NumPy spells it, with its byte order
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class Record(NamedTuple):
    """What a record holds: views of its bytes."""

    rows: int
    columns: dict[str, np.ndarray]


class RecordFormat:
    """How records of one feature configuration are laid out."""

    def __init__(self, features: FeatureConfig) -> None:
        self.columns = record_columns(features)
        self._crc = zlib.crc32(repr([tuple(column) for column in self.columns]).encode())
        self._places = {}
        self.size_bytes = _HEADER.size
        for column in self.columns:
            self._places[column.name] = self.size_bytes
            self.size_bytes += -(-column.size_bytes // 8) * 8

    def pack(self, first: int, rows: int, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """R consecutive records that hold `rows` rows, u8[R, size_bytes]; `first` is a number.

        `values` are arrays `[R, *shape]` by column.
        """
        count = -(-rows // RECORD_ROWS)
        packed = np.zeros((count, self.size_bytes), np.uint8)
        for record in range(count):
            own = min(RECORD_ROWS, rows - record * RECORD_ROWS)
            header = _HEADER.pack(_MAGIC, first + record, own, self._crc)
            packed[record, : _HEADER.size] = np.frombuffer(header, np.uint8)
        for column in self.columns:
            given = values[column.name]
            if given.dtype != column.dtype or given.shape != (count, *column.shape):
                raise ValueError(
                    f"column {column.name} is {given.dtype}{list(given.shape)}: expected"
                    f" {column.dtype}{[count, *column.shape]}"
                )
            place = self._places[column.name]
            raw = np.ascontiguousarray(given).view(np.uint8).reshape(count, -1)
            packed[:, place : place + column.size_bytes] = raw
        return packed

    def unpack(self, content: bytes, number: int) -> Record:
        """The columns of record `number`. ValueError, with what was expected, for other bytes."""
        if len(content) != self.size_bytes:
            raise ValueError(f"{len(content)} bytes; expected {self.size_bytes}")
        magic, found, rows, crc = _HEADER.unpack_from(content)
        if magic != _MAGIC or crc != self._crc:
            raise ValueError("a record of other columns; expected those of the index")
        if found != number or not 0 < rows <= RECORD_ROWS:
            raise ValueError(f"record {found} of {rows} rows; expected record {number}")
        return Record(rows, {c.name: self._view(content, c) for c in self.columns})

    def _view(self, content: bytes, column: Column) -> np.ndarray:
        count = int(np.prod(column.shape))
        place = self._places[column.name]
        return np.frombuffer(content, column.dtype, count, place).reshape(column.shape)


def record_columns(features: FeatureConfig) -> tuple[Column, ...]:
    """The columns of a record, in their order."""
    rows, past = RECORD_ROWS, features.look_back
    columns = [
        Column("block", "<i8", (past + rows,)),
        Column("pc", "<u4", (past + rows,)),
        Column("instr_id", "<i8", (rows,)),
        Column("labels", "|u1", (rows, features.label_bits // 8)),
    ]
    if features.encoding == "tokens":
        columns.append(Column("delta", "|u1", (rows, past)))
        if features.local_deltas:
            columns.append(Column("local", "|u1", (rows, features.local_deltas)))
        if features.local_confidence:
            columns.append(Column("confidence", "|u1", (rows,)))
        if features.popularity_entries:
            columns.append(Column("popularity", "|u1", (rows, len(POPULARITY_BLOCKS))))
    return tuple(columns)


def stored_features(features: FeatureConfig) -> FeatureConfig:
    """The configuration without what records do not depend on: equal ones share their shards."""
    if features.encoding == "segments":
        keep = ("encoding", "look_back", "horizon", "delta_bound", "miss_labels")
        return FeatureConfig(**{name: getattr(features, name) for name in keep})
    usual = FeatureConfig()
    return dataclasses.replace(
        features,
        keep_empty_labels=True,
        pc_vocabulary=0,
        pc_hash_buckets=usual.pc_hash_buckets,
        local_entries=features.local_entries if features.local_deltas else usual.local_entries,
    )
