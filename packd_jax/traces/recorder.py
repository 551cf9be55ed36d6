"""The machine that a workload runs on: it counts instructions and prints loads that reach the LLC.

Loads and stores go straight through the caches, so no list of all accesses ever exists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from packd_jax.config import CacheConfig
from packd_jax.traces.cache import LLC, Caches, access, empty_caches, load_waits
from packd_jax.traces.load_trace import LoadTrace

INSTRUCTIONS, STALL, LINES, STOP = range(4)  # entries of Recorder.clock


class Recorder(NamedTuple):
    """The machine that a workload runs on: its caches, its clock and the loads it prints."""

    caches: Caches
    wait_cycles: np.ndarray  # i64[4], by answering level
    clock: np.ndarray  # i64[4]: instructions, stalls (quarter cycles), lines, instructions to stop
    lines: np.ndarray  # i64[L, 5]: instr_id, cycle, address, pc, hit


def new_recorder(config: CacheConfig, instructions: int) -> Recorder:
    """A machine with cold caches that prints its LLC loads up to instruction `instructions`."""
    # At most one load an instruction; pages of `lines` that stay unused are never backed.
    lines = np.empty((instructions, 5), np.int64)
    clock = np.array([0, 0, 0, instructions], np.int64)
    return Recorder(empty_caches(config), load_waits(config), clock, lines)


def recorded_loads(recorder: Recorder) -> LoadTrace:
    """What the machine has printed so far."""
    lines = recorder.lines[: recorder.clock[LINES]]
    return LoadTrace(
        instr_id=lines[:, 0].copy(),
        cycle=lines[:, 1].copy(),
        address=lines[:, 2].astype(np.uint64),
        pc=lines[:, 3].astype(np.uint64),
        hit=lines[:, 4].astype(bool),
    )


@register_jitable
def load(recorder, pc, address, gap):
    """A load, `gap` instructions after the last one counted."""
    clock = recorder.clock
    clock[INSTRUCTIONS] += gap
    level = access(recorder.caches, address, False)
    if level >= LLC and clock[INSTRUCTIONS] <= clock[STOP]:
        line = recorder.lines[clock[LINES]]
        line[0] = clock[INSTRUCTIONS]
        line[1] = (clock[INSTRUCTIONS] + clock[STALL]) // 4
        line[2] = address
        line[3] = pc
        line[4] = level == LLC
        clock[LINES] += 1
    clock[STALL] += recorder.wait_cycles[level]


@register_jitable
def store(recorder, address, gap):
    """A store, `gap` instructions after the last one counted; it never waits."""
    recorder.clock[INSTRUCTIONS] += gap
    access(recorder.caches, address, True)


@register_jitable
def advance(recorder, instructions):
    """Instructions without any access."""
    recorder.clock[INSTRUCTIONS] += instructions


@register_jitable
def stopped(recorder):
    """Whether the machine has run all the instructions it was asked for."""
    return recorder.clock[INSTRUCTIONS] >= recorder.clock[STOP]


@register_jitable
def copy(recorder, source_at, target_at, size_bytes):
    """Copies memory in vectors of 32 bytes."""
    for done in range(0, size_bytes, 32):
        load(recorder, 0x40D020, source_at + done, 2)
        store(recorder, target_at + done, 1)
