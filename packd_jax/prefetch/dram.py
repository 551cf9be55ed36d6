"""Blocks on their way from DRAM: the miss registers, the banks and the bus.

`Machine` states the timing; `board` is that of `packd_jax.prefetch.board`.
"""

from __future__ import annotations

from numba import njit

from packd_jax.prefetch.board import (
    BANK_MASK,
    BANKS_AT,
    BLOCK,
    BUS_FREE,
    BY_LOAD,
    COMING,
    CYCLE,
    FILLS,
    FILLS_AT,
    FREE,
    LLC_CYCLES,
    NEVER,
    NEXT_FILL,
    OPEN_ROW,
    REGISTERS,
    ROW_BITS,
    ROW_HIT,
    ROW_MISS,
    TRANSFER,
    WHO,
)


@njit
def register_of(board, block):
    """Where `board` has a block on its way, or -1."""
    for at in range(COMING, COMING + 3 * board[REGISTERS], 3):
        if board[at + BLOCK] == block:
            return at
    return -1


@njit
def request(board, block, cycle, who):
    """Asks DRAM for a block; returns the cycle it arrives in the LLC. A register must be free."""
    bank = board[BANKS_AT] + 2 * (block & board[BANK_MASK])
    row = block >> board[ROW_BITS]
    asked = cycle + board[LLC_CYCLES]
    ready = max(asked, board[bank + FREE])
    ready += board[ROW_HIT] if row == board[bank + OPEN_ROW] else board[ROW_MISS]
    board[bank + OPEN_ROW], board[bank + FREE] = row, ready
    on_bus = max(asked, board[BUS_FREE])  # only its bandwidth: blocks may overtake others
    board[BUS_FREE] = on_bus + board[TRANSFER]
    arrival = max(ready, on_bus) + board[TRANSFER]
    at = COMING + 3 * board[REGISTERS]
    board[at + BLOCK], board[at + CYCLE], board[at + WHO] = block, arrival, who
    board[REGISTERS] += 1
    board[NEXT_FILL] = min(board[NEXT_FILL], arrival)
    return arrival


@njit
def arrive(board):
    """Takes the block that arrives next off its register; returns it and who asked for it."""
    at = COMING
    while board[at + CYCLE] != board[NEXT_FILL]:
        at += 3
    block, who = board[at + BLOCK], board[at + WHO]
    board[REGISTERS] -= 1
    last = COMING + 3 * board[REGISTERS]
    for field in range(3):
        board[at + field] = board[last + field]
    soonest = NEVER
    for other in range(COMING, last, 3):
        soonest = min(soonest, board[other + CYCLE])
    board[NEXT_FILL] = soonest
    board[board[FILLS_AT] + board[FILLS]] = 2 * block + (who != BY_LOAD)
    board[FILLS] += 1
    return block, who
