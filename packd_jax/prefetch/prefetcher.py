"""What a prefetcher is: fresh tables, and one compiled function that is called at every load."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit, types

_TABLE = types.Array(types.int64, 1, "C")
# observe(state, block, pc, hit, first_use, fills, out) -> candidates written
OBSERVE = types.FunctionType(
    types.int64(
        *(_TABLE, types.int64, types.int64, types.boolean, types.boolean, _TABLE, _TABLE),
    )
)


class Prefetcher(NamedTuple):
    """A prefetcher as the simulator sees it.

    `observe(state, block, pc, hit, first_use, fills, out)` is a numba function that is called at
    each load of the LLC, in trace order, and knows nothing of later ones:

    - `state` i64[...]: its tables, as `tables()` made them; it may change them
    - `block`, `pc` i64: of the load; `hit` bool: whether the LLC held the block; `first_use`
      bool: whether a prefetch had brought it and no load had used it
    - `fills` i64[F]: what came from DRAM since the load before, oldest first, as
      2 * block + (1 if a prefetch asked for it)
    - `out` i64[degree]: blocks to prefetch, the most urgent first

    It returns how many of `out` it wrote; blocks below 1 are skipped.
    """

    name: str
    storage_bits: int  # of its tables in hardware
    tables: Callable[[], np.ndarray]  # i64[...], fresh ones
    observe: Callable
    rows: int | None = None  # of the only trace that it can prefetch for


@njit(cache=True, nogil=True)
def _say_nothing(state, block, pc, hit, first_use, fills, out):
    return 0


def no_prefetcher() -> Prefetcher:
    """Never prefetches."""
    return Prefetcher("none", 0, lambda: np.zeros(1, np.int64), _say_nothing)


@njit(cache=True, nogil=True)
def _recall(state, block, pc, hit, first_use, fills, out):
    columns, row = state[0], state[1]
    state[1] += 1
    count = 0
    for column in range(columns):
        chosen = state[2 + row * columns + column]
        if chosen > 0 and count < len(out):
            out[count] = chosen
            count += 1
    return count


def precomputed(name: str, blocks: np.ndarray, storage_bits: int) -> Prefetcher:
    """Prefetches `blocks` i64[N, degree], chosen in advance for each load of a trace of N loads.

    Values below 1 stand for no prefetch. What was chosen at a load must follow from that load
    and those before it. Raises ValueError for another shape.
    """
    if blocks.ndim != 2 or blocks.dtype.kind not in "iu":
        raise ValueError(
            f"blocks: {blocks.dtype}{list(blocks.shape)}; expected integers [loads, degree]"
        )
    rows, columns = blocks.shape

    def tables() -> np.ndarray:
        state = np.empty(2 + blocks.size, np.int64)
        state[:2] = columns, 0
        state[2:] = blocks.reshape(-1)
        return state

    return Prefetcher(name, storage_bits, tables, _recall, rows)
