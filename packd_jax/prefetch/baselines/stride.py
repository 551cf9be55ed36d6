"""Per-PC stride prefetching, from a reference prediction table.

Chen and Baer, "Effective Hardware-Based Data Prefetching for High-Performance Processors", IEEE
Transactions on Computers, 1995: each load instruction has its last block and its last stride.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from packd_jax.prefetch.prefetcher import Prefetcher

ENTRIES = 256  # direct-mapped by PC
TAG_BITS, BLOCK_BITS, STRIDE_BITS, CONFIDENCE_BITS = 16, 32, 12, 2
TAG, LAST, STRIDE, CONFIDENCE = range(4)
SURE = 1  # prefetches from this confidence on
STEPS = 2  # strides between the blocks prefetched
LIMIT = 1 << (STRIDE_BITS - 1)


@njit(cache=True, nogil=True)
def _observe(state, block, pc, hit, first_use, fills, out):
    entry = state.reshape(ENTRIES, 4)[(pc ^ (pc >> 8)) & (ENTRIES - 1)]
    tag = (pc >> 8) & ((1 << TAG_BITS) - 1)
    if entry[TAG] != tag:
        entry[TAG], entry[LAST], entry[STRIDE], entry[CONFIDENCE] = tag, block, 0, 0
        return 0
    stride = block - entry[LAST]
    if stride == 0:
        return 0
    entry[LAST] = block
    if stride == entry[STRIDE]:
        entry[CONFIDENCE] = min(entry[CONFIDENCE] + 1, (1 << CONFIDENCE_BITS) - 1)
    elif entry[CONFIDENCE] > 0:
        entry[CONFIDENCE] -= 1
    elif -LIMIT <= stride < LIMIT:
        entry[STRIDE] = stride
    if entry[CONFIDENCE] < SURE:
        return 0
    for ahead in range(len(out)):
        out[ahead] = block + STEPS * (ahead + 1) * entry[STRIDE]
    return len(out)


def prefetcher() -> Prefetcher:
    """Prefetches 2 and 4 strides ahead where a PC's block stride repeats (degree 2)."""
    bits = ENTRIES * (TAG_BITS + BLOCK_BITS + STRIDE_BITS + CONFIDENCE_BITS)

    def tables() -> np.ndarray:
        table = np.zeros((ENTRIES, 4), np.int64)
        table[:, TAG] = -1
        return table.reshape(-1)

    return Prefetcher("stride", bits, tables, _observe)
