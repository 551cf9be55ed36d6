"""Best-Offset prefetching (Michaud, "Best-Offset Hardware Prefetching", HPCA 2016).

One offset D at a time is in use: a load of block X that misses, or is the first to use a
prefetched block, prefetches X + D within the page. Meanwhile every offset d is scored: it gains
a point when X - d is among the recent requests, blocks whose prefetch with D would be complete
by now. A phase of learning ends when an offset reaches SCORE_MAX points, or after ROUND_MAX
rounds over all offsets; the best one is used next, or none, where it has BAD_SCORE or less.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from packd_jax.prefetch.prefetcher import Prefetcher

# 1 to 63 without prime factors above 5: with 4 KiB pages larger ones always leave the page.
OFFSETS = np.array([d for d in range(1, 64) if 60**6 % d == 0], np.int64)
SCORE_MAX, ROUND_MAX, BAD_SCORE = 31, 100, 1
RECENT, TAG_BITS = 256, 12  # recent-requests table, direct-mapped
ON_THEIR_WAY = 64  # miss registers: a bit each tells a load's first prefetch from later ones
OFFSET, TESTED, ROUND, BEST_SCORE, BEST = range(5)
SCORES = 5  # then recent requests, then the first prefetches on their way, by block
REQUESTS = SCORES + len(OFFSETS)
FIRSTS = REQUESTS + RECENT


@njit(cache=True, nogil=True)
def _observe(state, block, pc, hit, first_use, fills, out):
    for fill in fills:
        came = fill >> 1
        base = came - state[OFFSET]
        # With prefetching off, what loads fetch stands for prefetches with D = 0.
        asked = state[FIRSTS + _index(came)] == came if fill & 1 else state[OFFSET] == 0
        if asked and base >> 6 == came >> 6:
            state[REQUESTS + _index(base)] = _tag(base)
    if hit and not first_use:
        return 0
    _learn(state, block)
    count = 0
    while state[OFFSET] != 0 and count < len(out):
        target = block + (count + 1) * state[OFFSET]
        if target >> 6 != block >> 6:
            break
        if count == 0:
            state[FIRSTS + _index(target)] = target
        out[count] = target
        count += 1
    return count


@njit(cache=True, nogil=True)
def _learn(state, block):
    tested = state[TESTED]
    base = block - OFFSETS[tested]
    if base >> 6 == block >> 6 and state[REQUESTS + _index(base)] == _tag(base):
        state[SCORES + tested] += 1
        if state[SCORES + tested] > state[BEST_SCORE]:
            state[BEST_SCORE] = state[SCORES + tested]
            state[BEST] = OFFSETS[tested]
    state[TESTED] += 1
    if state[TESTED] < len(OFFSETS):
        return
    state[TESTED] = 0
    state[ROUND] += 1
    if state[BEST_SCORE] >= SCORE_MAX or state[ROUND] == ROUND_MAX:
        state[OFFSET] = state[BEST] if state[BEST_SCORE] > BAD_SCORE else 0
        state[ROUND] = state[BEST_SCORE] = 0
        state[SCORES:REQUESTS] = 0


@njit(cache=True, nogil=True)
def _index(block):
    return (block ^ (block >> 8)) & (RECENT - 1)


@njit(cache=True, nogil=True)
def _tag(block):
    return (block >> 8) & ((1 << TAG_BITS) - 1)


def prefetcher() -> Prefetcher:
    """Prefetches one, two, ... offsets ahead, up to the degree; begins with offset 1.

    The paper prefetches one; two are what the ML data prefetching competition allows.

    Storage is without the prefetch bit of each block, which the LLC keeps for every prefetcher.
    """
    # The table; scores; offset in use and best one, 6 bits each; best score; round; offset tested;
    # firsts.
    bits = RECENT * TAG_BITS + 5 * len(OFFSETS) + 6 + 6 + 5 + 7 + 5 + ON_THEIR_WAY

    def tables() -> np.ndarray:
        state = np.zeros(FIRSTS + RECENT, np.int64)
        state[OFFSET] = 1
        state[REQUESTS:] = -1
        return state

    return Prefetcher("best_offset", bits, tables, _observe)
