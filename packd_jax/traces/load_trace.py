"""The load trace that everything else is made from, and the error that reading one may raise."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np


class LoadTrace(NamedTuple):
    """Loads that reached the last-level cache, in the order they did; all fields have length N.

    Instruction ids may step back: out-of-order cores look up out of order.
    """

    instr_id: np.ndarray  # i64[N]
    cycle: np.ndarray  # i64[N]
    address: np.ndarray  # u64[N], bytes
    pc: np.ndarray  # u64[N]
    hit: np.ndarray  # bool[N], last-level hit

    @property
    def rows(self) -> int:
        return len(self.instr_id)

    @property
    def block(self) -> np.ndarray:
        """Numbers of the 64-byte blocks, i64[N]."""
        return (self.address >> np.uint64(6)).astype(np.int64)

    def take(self, rows: slice | np.ndarray) -> LoadTrace:
        """The given rows as a trace of their own."""
        return LoadTrace(*(column[rows] for column in self))


class TraceError(ValueError):
    """A trace that cannot be read: which file, where in it, what was given, what was expected."""

    def __init__(self, path: str | os.PathLike, where: str, given: str, expected: str) -> None:
        super().__init__(f"{os.fspath(path)}: {where}: {given}; expected {expected}")
        self.path = os.fspath(path)
        self.where = where
        self.given = given
        self.expected = expected


def window_rows(trace: LoadTrace, start: int, stop: int, unit: str) -> slice:
    """Rows of the half-open window [start, stop), in `unit` "instructions", "rows" or "percent".

    Instruction ids are made monotone by their running maximum first, so a window is one
    contiguous run of rows even where an out-of-order core printed ids out of order.
    """
    if unit in ("rows", "percent"):
        return counted_rows(trace.rows, start, stop, unit)
    if unit != "instructions":
        raise ValueError(f"unit = {unit!r}: expected 'instructions', 'rows' or 'percent'")
    monotone = np.maximum.accumulate(trace.instr_id)
    first, last = np.searchsorted(monotone, [start, stop], side="left")
    return slice(int(first), int(last))


def counted_rows(rows: int, start: int, stop: int, unit: str) -> slice:
    """As `window_rows` of a trace of so many rows, in `unit` "rows" or "percent"."""
    if unit == "rows":
        return slice(min(start, rows), min(stop, rows))
    return slice(rows * start // 100, rows * min(stop, 100) // 100)
