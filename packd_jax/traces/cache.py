"""Set-associative LRU caches: from all accesses of a program to the loads its LLC sees.

Three levels of 64 B blocks, write-allocate and write-back, neither inclusive nor exclusive: a
miss fills every level on its way, a clean victim is dropped, a dirty one is written to the next
level, where it is a store of its own. Time is that of a simple core: a quarter of a cycle an
instruction, plus for every load a quarter of what the level that answers makes it wait.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from packd_jax.config import CacheConfig
from packd_jax.traces.accesses import Accesses
from packd_jax.traces.gather import empty_loads
from packd_jax.traces.load_trace import LoadTrace

BLOCK_BITS = 6
L1D, L2, LLC, MEMORY = range(4)  # who answers an access


class Caches(NamedTuple):
    """Tags of the three levels, i64[sets, ways]: block * 2 + dirty, most recently used first.

    Empty ways hold -1.
    """

    l1d: np.ndarray
    l2: np.ndarray
    llc: np.ndarray


def empty_caches(config: CacheConfig) -> Caches:
    """Caches without any block."""
    levels = (config.l1d, config.l2, config.llc)
    return Caches(
        *(np.full((lv.size_bytes // (64 * lv.ways), lv.ways), -1, np.int64) for lv in levels)
    )


class CacheFilter:
    """Filters all loads and stores of a program down to the loads that miss L1D and L2.

    Takes the accesses chunk after chunk and gives the loads of each; caches, which start cold,
    and time go on from chunk to chunk, so how the accesses are cut makes no difference. Stores
    fill the caches and are not part of the result.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._caches = empty_caches(config)
        self._waits = load_waits(config)
        self._stall = 0  # quarter cycles that loads have waited
        self._last_id = np.iinfo(np.int64).min

    def __call__(self, accesses: Accesses) -> LoadTrace:
        """The next chunk's loads. ValueError for unequal lengths or ids that step back."""
        columns = accesses._asdict()
        shapes = {name: np.shape(column) for name, column in columns.items()}
        if len(set(shapes.values())) != 1 or np.ndim(accesses.address) != 1:
            raise ValueError(f"accesses of shapes {shapes}: expected one dimension, equal lengths")
        address, pc = (np.asarray(columns[name], np.uint64) for name in ("address", "pc"))
        is_store = np.asarray(accesses.is_store, bool)
        instr_id = np.asarray(accesses.instr_id, np.int64)
        before = np.append(self._last_id, instr_id[:-1]) if len(instr_id) else instr_id
        if np.any(instr_id < before):
            row = int(np.argmax(instr_id < before))
            raise ValueError(
                f"accesses: instr_id[{row}] = {instr_id[row]} after {before[row]}: expected "
                "program order; sort the accesses by instruction id first"
            )
        out = empty_loads(len(address))
        rows, self._stall = _filter(
            self._caches, self._waits, self._stall, address, pc, is_store, instr_id, *out
        )
        self._last_id = instr_id[-1] if len(instr_id) else self._last_id
        return LoadTrace(*(column[:rows].copy() for column in out))


def llc_loads(
    address: np.ndarray,
    pc: np.ndarray,
    is_store: np.ndarray,
    instr_id: np.ndarray,
    config: CacheConfig,
) -> LoadTrace:
    """The loads of one chunk that is a whole program; see `CacheFilter`.

    The arrays have shape [N], in program order: byte addresses and PCs u64, `is_store` bool,
    `instr_id` i64, never stepping back.
    """
    return CacheFilter(config)(Accesses(address, pc, is_store, instr_id))


def load_waits(config: CacheConfig) -> np.ndarray:
    """Cycles that a load waits, i64[4], by the level that answers.

    The pipeline hides an L1D hit; the LLC is asked after L2; the memory's latency is the whole.
    """
    l2 = config.l2.latency_cycles
    llc = l2 + config.llc.latency_cycles
    return np.array([0, l2, llc, config.memory_latency_cycles], np.int64)


@register_jitable
def _touch(tags, block, dirty):
    """Makes `block` the most recent of its set; returns (hit, dirty block evicted or -1)."""
    ways = tags[block & (tags.shape[0] - 1)]
    held = block * 2 + dirty
    for way in range(tags.shape[1]):  # shift older blocks back until the block itself is met
        found = ways[way]
        ways[way] = held
        if found >> 1 == block:
            ways[0] |= found & 1
            return True, -1
        held = found
    return False, held >> 1 if held >= 0 and held & 1 else -1


@register_jitable
def access(caches, address, is_store):
    """One access to byte `address`; returns the level that answers: L1D, L2, LLC or MEMORY."""
    block = np.int64(address >> BLOCK_BITS)
    level = L1D
    hit, l1d_victim = _touch(caches.l1d, block, np.int64(is_store))
    if not hit:
        level = L2
        hit, l2_victim = _touch(caches.l2, block, 0)
        if not hit:
            hit, _ = _touch(caches.llc, block, 0)
            level = LLC if hit else MEMORY
            if l2_victim >= 0:
                _touch(caches.llc, l2_victim, 1)
        if l1d_victim >= 0:
            _, l2_victim = _touch(caches.l2, l1d_victim, 1)
            if l2_victim >= 0:
                _touch(caches.llc, l2_victim, 1)
    return level


@njit(nogil=True, cache=True)
def _filter(
    caches,
    waits,
    stall,
    address,
    pc,
    is_store,
    instr_id,
    out_id,
    out_cycle,
    out_address,
    out_pc,
    hit,
):
    """Writes the loads that reach the LLC, stamped before they wait; returns rows and stall."""
    rows = 0
    for row in range(len(address)):
        level = access(caches, address[row], is_store[row])
        if not is_store[row]:
            if level >= LLC:
                out_id[rows] = instr_id[row]
                out_cycle[rows] = (instr_id[row] + stall) // 4
                out_address[rows] = address[row]
                out_pc[rows] = pc[row]
                hit[rows] = level == LLC
                rows += 1
            stall += waits[level]
    return rows, stall
