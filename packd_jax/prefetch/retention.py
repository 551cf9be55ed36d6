"""Retention: places that a policy leaves free keep the blocks that are loaded most in the LLC.

A prefetch of a block that the LLC holds makes it the latest used of its set, and costs no DRAM
bandwidth. So a stream of blocks that are used once no longer drives out those that are used again
and again. A block that is gone by then comes back, which is a prefetch by popularity. Both is
replacement control through the prefetch port, and to be told apart from prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from packd_jax.config.checks import require
from packd_jax.prefetch.policy import NONE

BLOCK_BITS, COUNT_BITS = 42, 4
LOOKS = 16  # entries that are looked at in search of one, a load


@dataclass(frozen=True)
class RetentionConfig:
    """A direct-mapped table of blocks with counts of their loads, swept round and round.

    A load of the block in its entry counts up, one of another block down, until that one takes
    the entry (Misra and Gries, "Finding repeated elements", 1982).
    """

    entries: int = 16384
    least_count: int = 2  # of loads, for a block to be kept

    def __post_init__(self) -> None:
        entries, most = self.entries, (1 << COUNT_BITS) - 1
        power = entries > 0 and entries & (entries - 1) == 0
        require(power, "retention.entries", entries, "a power of two")
        require(
            1 <= self.least_count <= most, "retention.least_count", self.least_count, f"1 to {most}"
        )

    @property
    def bits(self) -> int:
        """Of the table: the block above its place, and the count; and the sweep's place."""
        place = self.entries.bit_length() - 1
        return self.entries * (BLOCK_BITS - place + COUNT_BITS) + place


def retain(chosen: np.ndarray, block: np.ndarray, config: RetentionConfig) -> np.ndarray:
    """`chosen` i64[N, degree] with its free places filled, i64[N, degree].

    `block` i64[N] are those of the loads; no row depends on a later one.
    """
    filled = np.array(chosen, np.int64)
    _fill(filled, np.asarray(block, np.int64), config.entries, config.least_count)
    return filled


@numba.njit(cache=True, nogil=True)
def _fill(chosen, block, entries, least_count):
    kept = np.full(entries, NONE, np.int64)
    count = np.zeros(entries, np.int64)
    swept = 0
    for row in range(len(block)):
        own = block[row] % entries
        if kept[own] == block[row]:
            count[own] = min(count[own] + 1, (1 << COUNT_BITS) - 1)
        elif count[own] > 0:
            count[own] -= 1
        else:
            kept[own], count[own] = block[row], 1
        looks = 0
        for place in range(chosen.shape[1]):
            while chosen[row, place] == NONE and looks < LOOKS:
                looks += 1
                swept = (swept + 1) % entries
                if count[swept] >= least_count and kept[swept] != block[row]:
                    chosen[row, place] = kept[swept]
