"""One trace of many chunks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from packd_jax.traces.load_trace import LoadTrace

DTYPES = tuple(np.dtype(name) for name in ("int64", "int64", "uint64", "uint64", "bool"))


def empty_loads(rows: int) -> LoadTrace:
    """Room for so many loads, with any values."""
    return LoadTrace(*(np.empty(rows, dtype) for dtype in DTYPES))


def gather(chunks: Iterable[LoadTrace]) -> LoadTrace:
    """The chunks one after another; memory stays near the size of the result."""
    columns, rows = empty_loads(0), 0
    for chunk in chunks:
        _reserve(columns, rows + chunk.rows)
        for column, part in zip(columns, chunk):
            column[rows : rows + chunk.rows] = part
        rows += chunk.rows
    for column in columns:
        column.resize(rows, refcheck=False)
    return columns


def _reserve(columns: LoadTrace, rows: int) -> None:
    # resize() is realloc: large arrays grow where they are, so no second copy is ever held.
    if rows > columns.rows:
        rows = max(rows, columns.rows * 5 // 4)
        for column in columns:
            column.resize(rows, refcheck=False)
