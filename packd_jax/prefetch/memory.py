"""The last-level cache under loads and prefetches.

Everything happens in the order of time: `advance` lets blocks arrive and prefetches leave up to
a cycle, then `load` is asked at that cycle. All times are cycles, all blocks `address >> 6`.

The arrays `lines` and `board` are those of `packd_jax.prefetch.board`.
"""

from __future__ import annotations

from numba import njit

from packd_jax.prefetch.board import (
    ALL_QUEUE,
    ALL_REGISTERS,
    ALONE,
    ALONE_MISSES,
    BINS,
    BLOCK,
    BY_LOAD,
    BY_PREFETCH,
    CYCLE,
    FILLED,
    ISSUED,
    LATE,
    LATE_PREFETCH,
    LATENESS,
    LLC_CYCLES,
    LOADS,
    MERGED,
    MISSES,
    NEVER,
    NEXT_FILL,
    PIPE_AT,
    PIPE_HEAD,
    PIPE_MASK,
    PIPE_TAIL,
    POLLUTING,
    QUEUE_AT,
    QUEUE_DROPS,
    QUEUE_HEAD,
    QUEUE_TAIL,
    REGISTERS,
    STAMP,
    TAG,
    TIME,
    TIMELINESS,
    TOUCHES,
    UNUSED,
    USED,
    USEFUL,
    USELESS,
    WHO,
)
from packd_jax.prefetch.dram import arrive, register_of, request


@njit
def way_of(lines, block):
    """The way of its set that holds `block`, or -1."""
    index = block & (lines.shape[0] - 1)
    for way in range(lines.shape[2]):
        if lines[index, TAG, way] == block:
            return way
    return -1


@njit
def use(lines, board, block, way):
    board[STAMP] += 1
    lines[block & (lines.shape[0] - 1), USED, way] = board[STAMP]


@njit
def fill(lines, board, block, who):
    """A block that came replaces the least recently used one of its set."""
    index = block & (lines.shape[0] - 1)
    victim, oldest = 0, NEVER  # ways without a block have never been used
    for way in range(lines.shape[2]):
        if lines[index, USED, way] < oldest:
            victim, oldest = way, lines[index, USED, way]
    if lines[index, FILLED, victim] >= 0:
        board[USELESS] += 1
        board[UNUSED] -= 1
    lines[index, TAG, victim] = block
    lines[index, FILLED, victim] = board[TIME] if who == BY_PREFETCH else -1
    use(lines, board, block, victim)


@njit
def prefetch(lines, board, block, register_is_free):
    """A prefetch reaches the LLC: it touches, merges, leaves for DRAM, waits, or is dropped."""
    way = way_of(lines, block)
    if way >= 0:
        board[TOUCHES] += 1
        use(lines, board, block, way)
    elif register_of(board, block) >= 0:
        board[MERGED] += 1
    elif register_is_free:
        board[ISSUED] += 1
        board[UNUSED] += 1
        request(board, block, board[TIME], BY_PREFETCH)
    elif board[QUEUE_TAIL] - board[QUEUE_HEAD] < board[ALL_QUEUE]:
        board[board[QUEUE_AT] + board[QUEUE_TAIL] % board[ALL_QUEUE]] = block
        board[QUEUE_TAIL] += 1
    else:
        board[QUEUE_DROPS] += 1


@njit
def advance(lines, board, until, load_waits):
    """Everything up to and including cycle `until`; a load that waits has the next register."""
    while True:
        free = board[REGISTERS] < board[ALL_REGISTERS] and not load_waits
        if free and board[QUEUE_HEAD] < board[QUEUE_TAIL]:
            block = board[board[QUEUE_AT] + board[QUEUE_HEAD] % board[ALL_QUEUE]]
            board[QUEUE_HEAD] += 1
        else:
            head = board[PIPE_AT] + 2 * (board[PIPE_HEAD] & board[PIPE_MASK])
            known = board[head + CYCLE] if board[PIPE_HEAD] < board[PIPE_TAIL] else NEVER
            if min(known, board[NEXT_FILL]) > until:
                return
            if board[NEXT_FILL] <= known:
                board[TIME] = board[NEXT_FILL]
                arrived, who = arrive(board)
                fill(lines, board, arrived, who)
                continue
            board[TIME] = known
            block = board[head + BLOCK]
            board[PIPE_HEAD] += 1
        prefetch(lines, board, block, free)


@njit
def load(lines, board, block, cycle):
    """A load reaches the LLC; returns (cycle, cycle its block is there, hit, first use).

    A load that finds every register taken waits for one, and those behind it wait, too: the
    cycle returned is later than the one given.
    """
    advance(lines, board, cycle, False)
    board[LOADS] += 1
    hit_alone = load_alone(lines, block)
    board[ALONE_MISSES] += not hit_alone
    way = way_of(lines, block)
    if way >= 0:
        first_use = use_prefetched(lines, board, block, way, cycle)
        return cycle, cycle + board[LLC_CYCLES], True, first_use
    board[MISSES] += 1
    board[POLLUTING] += hit_alone
    at = register_of(board, block)
    if at >= 0:
        wait = board[at + CYCLE] - cycle
        if board[at + WHO] == BY_PREFETCH:
            board[at + WHO] = LATE_PREFETCH
            board[LATE] += 1
            board[UNUSED] -= 1
            board[LATENESS + bin_of(wait)] += 1
        return cycle, cycle + max(wait, board[LLC_CYCLES]), False, False
    while board[REGISTERS] == board[ALL_REGISTERS]:
        cycle = board[NEXT_FILL]
        advance(lines, board, cycle, True)
    return cycle, request(board, block, cycle, BY_LOAD), False, False


@njit
def use_prefetched(lines, board, block, way, cycle):
    """A load hits a block; returns whether it is the first to use a prefetched one."""
    index = block & (lines.shape[0] - 1)
    filled = lines[index, FILLED, way]
    use(lines, board, block, way)
    if filled < 0:
        return False
    lines[index, FILLED, way] = -1
    board[USEFUL] += 1
    board[UNUSED] -= 1
    board[TIMELINESS + bin_of(cycle - filled)] += 1
    return True


@njit
def load_alone(lines, block):
    """One load of the LLC without prefetches, whose misses come at once; returns whether it hit."""
    index = block & (lines.shape[0] - 1)
    held = block
    for way in range(lines.shape[2]):
        found = lines[index, ALONE, way]
        lines[index, ALONE, way] = held
        if found == block:
            return True
        held = found
    return False


@njit
def bin_of(cycles):
    """The histogram bin of a number of cycles: its length in bits."""
    bits = 0
    while cycles > 0 and bits < BINS - 1:
        cycles >>= 1
        bits += 1
    return bits
