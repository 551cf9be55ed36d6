"""A prefetcher at the last-level cache, judged on a load trace.

The LLC sees the loads in trace order; prefetches never change which loads reach it, since they
fill the LLC only. Time is the simulator's own (`Machine` states how it passes) and not that of
the trace, whose cycles hold the waiting that prefetches take away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import njit, types

from packd_jax.prefetch.board import (
    BLOCK,
    COMING,
    COUNTS,
    CYCLE,
    FILLS,
    FILLS_AT,
    LATENESS,
    LOADS,
    PAGE_DROPS,
    PIPE_AT,
    PIPE_HEAD,
    PIPE_MASK,
    PIPE_TAIL,
    QUEUE_DROPS,
    REQUESTED,
    TIMELINESS,
    UNUSED,
    empty_memory,
)
from packd_jax.prefetch.machine import ML_DPC, Machine
from packd_jax.prefetch.memory import load
from packd_jax.prefetch.outcome import Outcome, ratio
from packd_jax.prefetch.prefetcher import OBSERVE, Prefetcher
from packd_jax.traces.load_trace import LoadTrace, window_rows

PAGE_BITS = 6  # blocks of a 4 KiB page


def simulate(
    trace: LoadTrace,
    prefetcher: Prefetcher,
    machine: Machine = ML_DPC,
    from_instr: int = 0,
) -> Outcome:
    """What `prefetcher` does for the loads of `trace` from instruction `from_instr` on.

    Loads before that warm up the LLC and the prefetcher's tables and are not counted. Equal
    arguments give equal results. Raises ValueError where there is no load to judge, and where
    the prefetches were computed for another trace.
    """
    if prefetcher.rows not in (None, trace.rows):
        raise ValueError(
            f"{prefetcher.name}: prefetches for {prefetcher.rows} loads; expected a row for each"
            f" of the trace's {trace.rows}"
        )
    last = int(trace.instr_id.max(initial=-1))
    if last < from_instr:
        raise ValueError(f"from_instr = {from_instr}: expected at most {last}, the last load's")
    first_row = window_rows(trace, from_instr, last + 1, "instructions").start
    instructions = last + 1 - max(from_instr, int(trace.instr_id[0]))
    block = trace.block
    lines, board = empty_memory(machine)
    before = np.zeros_like(board)
    waited = _compiled()(
        *(lines, board, before, _pages_of(block)),
        np.empty(machine.degree, np.int64),
        prefetcher.observe,
        np.ascontiguousarray(prefetcher.tables(), np.int64),
        np.ascontiguousarray(trace.instr_id, np.int64),
        block,
        np.ascontiguousarray(trace.pc, np.uint64).view(np.int64),
        *(first_row, machine.inference_cycles, machine.only_mapped_pages),
        *(machine.instruction_cycles, machine.window_instructions, machine.issue_width),
        machine.upper_cycles,
    )
    judged = (board - before).tolist()
    counted = dict(zip(COUNTS, judged[LOADS:TIMELINESS]))
    useful, misses = counted["useful"], counted["misses"]
    alone_misses, _ = counted.pop("alone_misses"), counted.pop("unused")
    return Outcome(
        name=prefetcher.name,
        bytes=-(-prefetcher.storage_bits // 8),
        accuracy=ratio(useful, useful + counted["useless"]),
        coverage=ratio(useful, useful + misses),
        mpki=1000 * ratio(misses, instructions),
        mpki_none=1000 * ratio(alone_misses, instructions),
        est_cycles=waited + round(instructions * machine.instruction_cycles),
        instructions=instructions,
        unused_before=int(before[UNUSED]),
        unused_after=int(board[UNUSED]),
        timeliness=tuple(judged[TIMELINESS:LATENESS]),
        lateness=tuple(judged[LATENESS:COMING]),
        **counted,
    )


@functools.cache
def _compiled() -> Callable:
    # With the types stated, one compilation serves every prefetcher: `observe` is a pointer.
    table, whole = types.Array(types.int64, 1, "C"), types.int64
    signature = (
        *(types.Array(types.int64, 3, "C"), table, table, table, table, OBSERVE),
        *(table, table, table, table),
        *(whole, whole, types.boolean, types.float64, whole, whole, whole),
    )
    return njit(signature, cache=True, nogil=True)(_simulate)


# fmt: off
def _simulate(
    lines, board, before, pages, out, observe, state, instr_id, block, pc,
    first_row, inference, only_mapped_pages, instruction, window, width, upper,
):
    """All loads; fills `before` with `board` as it was at `first_row`.

    Returns the cycles that the core waited for loads from there on. Loads are in one group with
    its first one, the leader, within the window.
    """
    # fmt: on
    waited = waited_before = 0  # for all groups before this one
    cycle = 0  # of the last load
    led = done = 0  # when the leader left, and when all blocks of its group are there
    position = leader = instr_id[0]
    for row in range(len(block)):
        if row == first_row:
            waited_before = waited + done - led
            for place in range(len(board)):
                before[place] = board[place]
        position = max(position, instr_id[row])
        if position - leader >= window:
            waited += done - led
            led = waited + int((position - instr_id[0]) * instruction)
            cycle = done = led
            leader = position
        cycle = max(cycle, led + (position - leader) // width)
        cycle, arrival, hit, first_use = load(lines, board, block[row], cycle)
        done = max(done, arrival + upper)
        fills = board[board[FILLS_AT] : board[FILLS_AT] + board[FILLS]]
        count = observe(state, block[row], pc[row], hit, first_use, fills, out)
        board[FILLS] = 0
        for place in range(min(count, len(out))):
            chosen = out[place]
            if chosen <= 0:
                continue
            board[REQUESTED] += 1
            page = chosen >> PAGE_BITS
            if only_mapped_pages and pages[_slot(pages, page)] != page:
                board[PAGE_DROPS] += 1
            else:
                _compute(board, chosen, cycle + inference)
    return waited + done - led - waited_before


@njit
def _compute(board, block, known):
    """A prefetch enters the pipe, which it leaves in cycle `known`."""
    if board[PIPE_TAIL] - board[PIPE_HEAD] > board[PIPE_MASK]:
        board[QUEUE_DROPS] += 1
        return
    slot = board[PIPE_AT] + 2 * (board[PIPE_TAIL] & board[PIPE_MASK])
    board[slot + BLOCK], board[slot + CYCLE] = block, known
    board[PIPE_TAIL] += 1


@njit
def _slot(pages, page):
    """Where a page is in the hash table, or would be."""
    slot = (page * 0x9E3779B1 >> 7) & (len(pages) - 1)
    while pages[slot] != page and pages[slot] >= 0:
        slot = (slot + 1) & (len(pages) - 1)
    return slot


@njit(cache=True, nogil=True)
def _pages_of(block):
    """The pages of all blocks, as a hash table; empty slots hold -1."""
    pages = np.full(1024, -1, np.int64)
    count = 0
    for some in block:
        page = some >> PAGE_BITS
        slot = _slot(pages, page)
        if pages[slot] == page:
            continue
        pages[slot] = page
        count += 1
        if 2 * count > len(pages):
            larger = np.full(2 * len(pages), -1, np.int64)
            for known in pages:
                if known >= 0:
                    larger[_slot(larger, known)] = known
            pages = larger
    return pages
