"""Stream prefetching: trackers that follow runs of neighbouring blocks.

As in Srinath, Mutlu, Kim and Patt, "Feedback Directed Prefetching", HPCA 2007, section 2.1 (the
POWER4 design): a miss allocates a tracker; two more misses close by in one direction train it;
from then on it monitors the region between its start and its end, and a load in that region
prefetches the blocks after the end and moves the region on.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from packd_jax.prefetch.prefetcher import Prefetcher

TRACKERS = 64
TRAINING_DISTANCE = 16  # blocks from the first miss in which misses train a tracker
PREFETCH_DISTANCE = 16  # blocks of a monitored region ("middle-of-the-road")
BLOCK_BITS = 42  # of a 48-bit address
ALLOCATED, TRAINED, MONITORING = range(1, 4)  # levels; 0: free
# Tables, of a number a tracker; END is the last block prefetched.
START, END, DIRECTION, LEVEL, USED, CLOCK = range(0, 6 * TRACKERS, TRACKERS)


@njit(cache=True, nogil=True)
def _observe(state, block, pc, hit, first_use, fills, out):
    state[CLOCK] += 1
    tracker = _monitoring(state, block)
    if tracker >= 0:
        state[USED + tracker] = state[CLOCK]
        return _follow(state, tracker, out)
    if hit:
        return 0
    tracker = _training(state, block)
    if tracker >= 0:
        state[USED + tracker] = state[CLOCK]
        return _train(state, tracker, block, out)
    tracker = np.argmin(state[USED : USED + TRACKERS])
    state[START + tracker] = state[END + tracker] = block
    state[DIRECTION + tracker], state[LEVEL + tracker] = 0, ALLOCATED
    state[USED + tracker] = state[CLOCK]
    return 0


# The two searches are maxima without a way out, and so compile to vectors.


@njit(cache=True, nogil=True)
def _monitoring(state, block):
    """The last tracker that monitors a region with the block, or -1."""
    found = -1
    for tracker in range(TRACKERS):
        start, end = state[START + tracker], state[END + tracker]
        inside = (min(start, end) <= block) & (block <= max(start, end))
        monitors = inside & (state[LEVEL + tracker] == MONITORING)
        found = max(found, tracker if monitors else -1)
    return found


@njit(cache=True, nogil=True)
def _training(state, block):
    """The last tracker in training close to the block, or -1."""
    found = -1
    for tracker in range(TRACKERS):
        level = state[LEVEL + tracker]
        near = abs(block - state[START + tracker]) <= TRAINING_DISTANCE
        trains = near & (level > 0) & (level < MONITORING)
        found = max(found, tracker if trains else -1)
    return found


@njit(cache=True, nogil=True)
def _train(state, tracker, block, out):
    delta = block - state[START + tracker]
    if delta == 0:
        return 0
    direction = 1 if delta > 0 else -1
    if state[LEVEL + tracker] == TRAINED and direction == state[DIRECTION + tracker]:
        state[END + tracker], state[LEVEL + tracker] = block, MONITORING
        return _follow(state, tracker, out)
    state[DIRECTION + tracker], state[LEVEL + tracker] = direction, TRAINED
    return 0


@njit(cache=True, nogil=True)
def _follow(state, tracker, out):
    """Prefetches after the end of the region; once it is long enough, its start follows."""
    direction = state[DIRECTION + tracker]
    for ahead in range(len(out)):
        state[END + tracker] += direction
        out[ahead] = state[END + tracker]
    length = abs(state[END + tracker] - state[START + tracker])
    if length > PREFETCH_DISTANCE:
        state[START + tracker] += (length - PREFETCH_DISTANCE) * direction
    return len(out)


def prefetcher() -> Prefetcher:
    """64 trackers, at most 16 blocks ahead."""
    end_bits = PREFETCH_DISTANCE.bit_length() + 1
    bits = TRACKERS * (BLOCK_BITS + end_bits + 1 + 2 + 6)  # direction, level, order of use
    return Prefetcher("stream", bits, lambda: np.zeros(CLOCK + 1, np.int64), _observe)
