"""ChampSim's instruction records, 64 bytes each, or 96 in the Cloudsuite variant.

Little-endian, no header. ip u64, is_branch u8, taken u8, registers written and read (u8 each),
then addresses written and read (u64 each, 0: unused): 2 and 4 of them, or 4 and 4 and the asid.
There are neither sizes, so an access is one row, nor cycles: `cache.CacheFilter` has a model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numba
import numpy as np

from packd_jax.traces.accesses import Accesses, access_chunks, empty_accesses
from packd_jax.traces.load_trace import TraceError

HEAD_BYTES = 1 << 14  # what the size of a record is told by


class Layout(NamedTuple):
    """Places in a record, in words of 8 bytes."""

    words: int
    stores_at: int
    stores: int
    loads_at: int
    loads: int


LAYOUTS = {64: Layout(8, 2, 2, 4, 4), 96: Layout(12, 3, 4, 7, 4)}
_FLAGS = np.uint64(0xFEFE)  # bits never set in is_branch and taken, the two bytes after the ip
_ZERO = np.uint64(0)


def record_size(head: bytes) -> int:
    """The size of the records at the beginning of a file (all of one below 16 KiB): 64, 96, or 0.

    A size fits if every whole record has an ip other than 0, and 0 or 1 in is_branch and taken.
    Where both fit, which takes operands in the right places all along, it is the one of which
    a short file is a whole number of records, or else 64, the usual one; 0 if neither fits.
    """
    head = head[:HEAD_BYTES]
    fitting = []
    for size, layout in LAYOUTS.items():
        records = _words(head, layout).reshape(-1, layout.words)
        if len(records) and records[:, 0].all() and not np.any(records[:, 1] & _FLAGS):
            fitting.append(size)
    whole = [size for size in fitting if len(head) < HEAD_BYTES and len(head) % size == 0]
    return (whole + fitting + [0])[0]


def is_champsim(head: bytes, record_bytes: int) -> bool:
    """Whether the beginning of a file looks like records of that size."""
    return record_size(head) == record_bytes


def read_champsim(
    chunks: Iterable[bytes], path: str | os.PathLike, record_bytes: int
) -> Iterator[Accesses]:
    """Reads accesses from consecutive pieces of records; `path` only names it in errors.

    `record_bytes` is 64 or 96; see `record_size`. Instruction ids count records from 1. Raises
    TraceError for a record without ip or with other flags than 0 and 1, for a truncated last
    record, and where there is no access.
    """
    columns = empty_accesses()
    return access_chunks(_fill(chunks, path, columns, LAYOUTS[record_bytes]), columns, path)


def _fill(
    chunks: Iterable[bytes], path: str | os.PathLike, columns: Accesses, layout: Layout
) -> Iterator[int]:
    size, room = 8 * layout.words, columns.rows - layout.stores - layout.loads
    row = records = 0
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        words, at = _words(data, layout), 0
        while at < len(words):
            row, at = _parse(words, at, layout, records, *columns, row)
            if row > room:
                yield row
                row = 0
            elif at < len(words):
                where = _place(records + at // layout.words, size)
                raise TraceError(path, where, *_explain(words[at : at + 2], size))
        records += len(words) // layout.words
        rest = data[8 * len(words) :]
    if rest:
        expected = f"{size} bytes; copy the file again, or name the size: --format=champsim64 or 96"
        raise TraceError(path, _place(records, size), f"{len(rest)} bytes at the end", expected)
    if row:
        yield row


def _words(data: bytes, layout: Layout) -> np.ndarray:
    """The whole records as u64[words]."""
    return np.frombuffer(data, "<u8", len(data) // (8 * layout.words) * layout.words)


def _place(record: int, size: int) -> str:
    return f"record {record + 1} (byte {record * size})"


@numba.njit(cache=True, nogil=True)
def _parse(words, at, layout, records, address, pc, is_store, instr_id, row):
    """Records from position `at` of `words` on into rows from `row` on; `records` came before.

    Returns the next row and the position that it came to: the end, a record that is none, or
    one that may need more rows than are free.
    """
    while at < len(words) and row + layout.stores + layout.loads <= len(address):
        if words[at] == _ZERO or words[at + 1] & _FLAGS:
            return row, at
        for store in (False, True):
            first = at + (layout.stores_at if store else layout.loads_at)
            for slot in range(first, first + (layout.stores if store else layout.loads)):
                if words[slot] != _ZERO:
                    address[row] = words[slot]
                    pc[row] = words[at]
                    is_store[row] = store
                    instr_id[row] = records + at // layout.words + 1
                    row += 1
        at += layout.words
    return row, at


def _explain(words: np.ndarray, size: int) -> tuple[str, str]:
    expected = (
        f"an intact file of {size}-byte records; for others say --format=champsim{160 - size}"
    )
    if words[0] == 0:
        return "ip = 0", expected
    branch, taken = (int(words[1]) >> shift & 0xFF for shift in (0, 8))
    return f"is_branch = {branch}, taken = {taken}, where only 0 and 1 are", expected
