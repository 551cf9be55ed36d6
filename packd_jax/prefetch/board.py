"""What the simulated memory holds, and where.

The state is two i64 arrays, since compiled calls count references to every array they are given.
`lines` [sets, 4, ways] is the cache. `board` holds the machine's numbers, the counts of events,
two histograms, and lists: blocks on their way, banks, prefetches that wait or are computed, and
blocks that came lately.
"""

from __future__ import annotations

import numpy as np

from packd_jax.prefetch.machine import Machine

NEVER = np.iinfo(np.int64).max
BINS = 24  # of histograms: bin 0 counts zero cycles, bin k those below 2**k

# Fields of `lines`. FILLED holds the cycle in which a prefetched block came that no load has
# used, else -1. ALONE are the tags of the same LLC without prefetches, the latest used first.
TAG, USED, FILLED, ALONE = range(4)

# Of `board`, the machine ...
LLC_CYCLES, ROW_HIT, ROW_MISS, TRANSFER, BANK_MASK, ROW_BITS, ALL_REGISTERS, ALL_QUEUE = range(8)
BANKS_AT, QUEUE_AT, PIPE_AT, PIPE_MASK, FILLS_AT = range(8, 13)
# ... its present state ...
TIME, NEXT_FILL, BUS_FREE, STAMP, REGISTERS, FILLS = range(13, 19)  # TIME: of the last event
QUEUE_HEAD, QUEUE_TAIL, PIPE_HEAD, PIPE_TAIL = range(19, 23)
# ... counts, then cycles from arrival to first use of useful prefetches, and cycles that loads
# waited for late ones ...
COUNTS = (
    *("loads", "misses", "alone_misses", "polluting", "useful", "useless", "late"),
    *("requested", "issued", "touches", "merged", "queue_drops", "page_drops", "unused"),
)
LOADS, MISSES, ALONE_MISSES, POLLUTING, USEFUL, USELESS, LATE = range(23, 30)
REQUESTED, ISSUED, TOUCHES, MERGED, QUEUE_DROPS, PAGE_DROPS, UNUSED = range(30, 37)
TIMELINESS = 37
LATENESS = TIMELINESS + BINS
# ... and lists: of 3 numbers per block on its way, 2 per bank, 1 per prefetch that waits, 2 per
# prefetch that is computed (both rings), 1 per block that came since the last load.
COMING = LATENESS + BINS
BLOCK, CYCLE, WHO = range(3)
OPEN_ROW, FREE = range(2)
BY_LOAD, BY_PREFETCH, LATE_PREFETCH = range(3)  # who asked for a block on its way


def empty_memory(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """`lines` and `board` of an LLC without any block."""
    lines = np.full((machine.sets, 4, machine.llc.ways), -1, np.int64)
    lines[:, USED] = 0
    # One prediction a cycle: more cannot be on their way.
    pipe = 1 << (machine.degree * (machine.inference_cycles + 1)).bit_length()
    banks_at = COMING + 3 * machine.miss_registers
    queue_at = banks_at + 2 * machine.banks
    pipe_at = queue_at + machine.prefetch_queue
    fills_at = pipe_at + 2 * pipe
    fills = machine.miss_registers + machine.prefetch_queue + pipe
    board = np.zeros(fills_at + fills, np.int64)
    board[banks_at:queue_at] = -1
    board[NEXT_FILL] = NEVER
    board[:BANKS_AT] = (
        *(machine.llc.latency_cycles, machine.row_hit_cycles, machine.row_miss_cycles),
        *(machine.transfer_cycles, machine.banks - 1),
        (machine.banks * machine.row_blocks).bit_length() - 1,
        *(machine.miss_registers, machine.prefetch_queue),
    )
    board[BANKS_AT:TIME] = banks_at, queue_at, pipe_at, pipe - 1, fills_at
    return lines, board
