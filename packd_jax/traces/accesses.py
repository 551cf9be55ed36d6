"""Chunks of all accesses of a program, and what the readers that make them share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numba
import numpy as np

from packd_jax.traces.load_trace import TraceError

CHUNK_ACCESSES = 1 << 20
MAX_ACCESS_BYTES = 1 << 14  # the largest x86 access, xsave with AMX, takes 11 KB
ROWS_AN_ACCESS = (MAX_ACCESS_BYTES >> 6) + 1  # blocks that one access may touch

_ONE, _BLOCK_BITS = np.uint64(1), np.uint64(6)


class Accesses(NamedTuple):
    """Loads and stores of a program in program order; all fields have length N.

    An access that crosses into another 64 B block is one row a block. The rows of one
    instruction have one id, its loads before its stores.
    """

    address: np.ndarray  # u64[N], bytes
    pc: np.ndarray  # u64[N]
    is_store: np.ndarray  # bool[N]
    instr_id: np.ndarray  # i64[N], never stepping back

    @property
    def rows(self) -> int:
        return len(self.address)


def empty_accesses(rows: int = CHUNK_ACCESSES) -> Accesses:
    """Room for so many accesses, with any values."""
    dtypes = (np.uint64, np.uint64, np.bool_, np.int64)
    return Accesses(*(np.empty(rows, dtype) for dtype in dtypes))


def access_chunks(
    fills: Iterable[int], columns: Accesses, path: str | os.PathLike
) -> Iterator[Accesses]:
    """A copy of the first rows of `columns` for each of `fills`, the numbers of them.

    Raises TraceError if there is none at the end.
    """
    rows = 0
    for rows in fills:
        yield Accesses(*(column[:rows].copy() for column in columns))
    if rows == 0:
        raise TraceError(path, "the whole file", "no load or store", "a trace of memory accesses")


@numba.njit
def crosses_end(first, size):
    """Whether an access of `size` bytes, u64 as all here, ends beyond the last address."""
    return first + (size - _ONE) < first


@numba.njit
def put_access(address, pc, is_store, instr_id, row, first, size, at_pc, store, instruction):
    """Writes an access from `row` on, a row for each block that it touches; the next row."""
    block, last = first >> _BLOCK_BITS, (first + (size - _ONE)) >> _BLOCK_BITS
    while True:
        address[row] = first
        pc[row] = at_pc
        is_store[row] = store
        instr_id[row] = instruction
        row += 1
        if block >= last:
            return row
        block += _ONE
        first = block << _BLOCK_BITS
