"""Temporal prefetching after the Irregular Stream Buffer, with tables that are bounded.

Jain and Lin, "Linearizing Irregular Memory Accesses for Improved Correlated Prefetching", MICRO
2013: blocks that one PC loads one after another get consecutive structural addresses, so that
following such a chain is adding one. The paper keeps what its tables cannot hold in DRAM; here
the least recently used entries are lost.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from packd_jax.prefetch.prefetcher import Prefetcher

ENTRIES, WAYS = 16384, 8  # of each of the two tables
SETS = ENTRIES // WAYS
PCS = 256  # training unit, direct-mapped
STREAM = 256  # structural addresses of a chain
STRUCTURAL_BITS, BLOCK_BITS, PC_TAG_BITS = 24, 42, 16
SURE = 3  # highest confidence, 2 bits
CLOCK, FRESH = range(2)  # scalars: loads so far, next free structural address
LAST = 2  # training unit: PC tag, last block
TO_STRUCTURAL = LAST + 2 * PCS  # keys are blocks, values structural addresses
TO_BLOCK = TO_STRUCTURAL + 4 * ENTRIES  # the other way round; no confidence
SIZE = TO_BLOCK + 4 * ENTRIES
KEY, VALUE, CONFIDENCE, USED = range(0, 4 * WAYS, WAYS)  # each side by side for a set's ways


@njit(cache=True, nogil=True)
def _observe(state, block, pc, hit, first_use, fills, out):
    state[CLOCK] += 1
    trained = LAST + 2 * ((pc ^ (pc >> 8)) & (PCS - 1))
    tag = (pc >> 8) & ((1 << PC_TAG_BITS) - 1)
    if state[trained] == tag and state[trained + 1] != block:
        _follow(state, state[trained + 1], block)
    state[trained], state[trained + 1] = tag, block
    entry = _find(state, TO_STRUCTURAL, block)
    if state[entry + KEY] != block:
        return 0
    structural, written = state[entry + VALUE], 0
    for ahead in range(1, len(out) + 1):
        if (structural + ahead) % STREAM < ahead:
            break  # the chain ends
        found = _find(state, TO_BLOCK, structural + ahead)
        if state[found + KEY] == structural + ahead:
            out[written] = state[found + VALUE]
            written += 1
    return written


@njit(cache=True, nogil=True)
def _follow(state, before, block):
    """Learns that `block` came after `before`."""
    entry = _find(state, TO_STRUCTURAL, before)
    if state[entry + KEY] != before:
        _assign(state, before, _new_stream(state))
        entry = _find(state, TO_STRUCTURAL, before)
    wanted = state[entry + VALUE] + 1
    entry = _find(state, TO_STRUCTURAL, block)
    mapped = state[entry + KEY] == block
    if mapped and state[entry + VALUE] == wanted:
        state[entry + CONFIDENCE] = min(state[entry + CONFIDENCE] + 1, SURE)
    elif mapped and state[entry + CONFIDENCE] > 0:
        state[entry + CONFIDENCE] -= 1
    elif wanted % STREAM != 0 and _is_free(state, wanted):
        _assign(state, block, wanted)
    elif not mapped:
        _assign(state, block, _new_stream(state))


@njit(cache=True, nogil=True)
def _is_free(state, structural):
    """Whether a structural address can be given away; asking weakens the block that has it."""
    entry = _find(state, TO_BLOCK, structural)
    if state[entry + KEY] != structural:
        return True
    holder = _find(state, TO_STRUCTURAL, state[entry + VALUE])
    if state[holder + KEY] != state[entry + VALUE] or state[holder + VALUE] != structural:
        return True
    if state[holder + CONFIDENCE] == 0:
        return True
    state[holder + CONFIDENCE] -= 1
    return False


@njit(cache=True, nogil=True)
def _new_stream(state):
    fresh = state[FRESH]
    state[FRESH] = (fresh + STREAM) & ((1 << STRUCTURAL_BITS) - 1)
    return fresh


@njit(cache=True, nogil=True)
def _assign(state, block, structural):
    """Maps a block to a structural address, and back."""
    entry = _find(state, TO_STRUCTURAL, block)
    state[entry + KEY], state[entry + VALUE] = block, structural
    state[entry + CONFIDENCE], state[entry + USED] = 1, state[CLOCK]
    entry = _find(state, TO_BLOCK, structural)
    state[entry + KEY], state[entry + VALUE] = structural, block
    state[entry + USED] = state[CLOCK]


@njit(cache=True, nogil=True)
def _find(state, table, key):
    """Where the entry of `key` is, or would be put; that entry is now the most recent."""
    first = table + 4 * WAYS * (key & (SETS - 1))
    for entry in range(first, first + WAYS):
        if state[entry] == key:
            state[entry + USED] = state[CLOCK]
            return entry
    chosen = first
    for entry in range(first + 1, first + WAYS):
        if state[entry + USED] < state[chosen + USED]:
            chosen = entry
    return chosen


def prefetcher() -> Prefetcher:
    """About 240 KB of tables; prefetches the next blocks of the chain, up to the degree."""
    set_bits = SETS.bit_length() - 1
    to_structural = BLOCK_BITS - set_bits + STRUCTURAL_BITS + 2 + 3  # confidence, order of use
    to_block = STRUCTURAL_BITS - set_bits + BLOCK_BITS + 3
    bits = ENTRIES * (to_structural + to_block) + PCS * (PC_TAG_BITS + BLOCK_BITS)
    bits += STRUCTURAL_BITS

    def tables() -> np.ndarray:
        state = np.zeros(SIZE, np.int64)
        state[LAST:TO_STRUCTURAL:2] = -1
        state[TO_STRUCTURAL:].reshape(-1, 4, WAYS)[:, 0] = -1
        return state

    return Prefetcher("temporal", bits, tables, _observe)
