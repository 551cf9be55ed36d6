"""PCs as small numbers, in the order in which they first appear."""

from __future__ import annotations

import numba
import numpy as np

from packd_jax.tokens import GOLDEN

_SLOTS = 1 << 10  # at first; always a power of two, and at most half of them full


class PcDictionary:
    """Gives each PC the number of different PCs before it; grows with them."""

    def __init__(self) -> None:
        self._pcs = np.empty(_SLOTS // 2, np.uint64)
        self._slots = np.full(_SLOTS, -1, np.int64)  # numbers of PCs, by hash; -1: free
        self._count = 0

    @property
    def pcs(self) -> np.ndarray:
        """The PC of each number, u64[P]."""
        return self._pcs[: self._count].copy()

    def numbers(self, pc: np.ndarray) -> np.ndarray:
        """Numbers of the next PCs u64[N], known or new: u32[N]."""
        numbers, row = np.empty(len(pc), np.uint32), 0
        while True:
            row, self._count = _number(pc, row, numbers, self._pcs, self._slots, self._count)
            if row == len(pc):
                return numbers
            self._grow()

    def _grow(self) -> None:
        pcs = self._pcs
        self._pcs = np.empty(2 * len(pcs), np.uint64)
        self._slots = np.full(2 * len(self._slots), -1, np.int64)
        _, self._count = _number(pcs, 0, np.empty(len(pcs), np.uint32), self._pcs, self._slots, 0)


@numba.njit(cache=True, nogil=True)
def _number(pc, row, numbers, pcs, slots, count):
    """Numbers rows from `row` on until a new PC has no room; the row and count come to."""
    mask = np.uint64(len(slots) - 1)
    while row < len(pc):
        slot = ((pc[row] * GOLDEN) >> np.uint64(32)) & mask
        while slots[slot] >= 0 and pcs[slots[slot]] != pc[row]:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] < 0:
            if count == len(pcs):
                return row, count
            slots[slot] = count
            pcs[count] = pc[row]
            count += 1
        numbers[row] = slots[slot]
        row += 1
    return row, count
