"""Caches against a reference in plain Python, hand-worked streams, and the real filter's rules."""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.config import CacheConfig, CacheLevelConfig, ConfigError
from packd_jax.config.trace import CACHE_PRESETS
from packd_jax.traces.accesses import Accesses
from packd_jax.traces.cache import (
    L1D,
    L2,
    LLC,
    MEMORY,
    CacheFilter,
    access,
    empty_caches,
    llc_loads,
)
from packd_jax.traces.recorder import load, new_recorder, recorded_loads, store

TINY = CacheConfig(
    l1d=CacheLevelConfig(64 * 2 * 2, 2, 4),  # 2 sets x 2 ways
    l2=CacheLevelConfig(64 * 2 * 4, 2, 8),  # 4 x 2
    llc=CacheLevelConfig(64 * 4 * 4, 4, 20),  # 4 x 4
    memory_latency_cycles=100,
)


class ReferenceLevel:
    """One LRU level that writes dirty victims to the next one."""

    def __init__(self, config, below):
        self.ways = config.ways
        sets = config.size_bytes // (64 * config.ways)
        self.sets = [OrderedDict() for _ in range(sets)]
        self.below = below

    def fill(self, block, dirty):
        """Returns the evicted dirty block, if any; the block must be absent."""
        lines = self.sets[block % len(self.sets)]
        victim = None
        if len(lines) == self.ways:
            old, was_dirty = lines.popitem(last=False)
            victim = old if was_dirty else None
        lines[block] = dirty
        return victim

    def holds(self, block, dirty):
        lines = self.sets[block % len(self.sets)]
        if block not in lines:
            return False
        lines.move_to_end(block)
        lines[block] |= dirty
        return True

    def write_back(self, block):
        if not self.holds(block, True):
            victim = self.fill(block, True)
            if victim is not None and self.below:
                self.below.write_back(victim)


def reference_levels(config, accesses):
    llc = ReferenceLevel(config.llc, None)
    l2 = ReferenceLevel(config.l2, llc)
    l1d = ReferenceLevel(config.l1d, l2)
    levels = (l1d, l2, llc)
    answers = []
    for address, is_store in accesses:
        block = address // 64
        for answer, level in enumerate(levels):
            if level.holds(block, is_store and answer == L1D):
                break
        else:
            answer = MEMORY
        answers.append(answer)
        missed = levels[:answer]
        victims = [level.fill(block, is_store and level is l1d) for level in missed]
        # The lowest level's victim goes first: it left before the one above it arrives there.
        for level, victim in reversed(list(zip(missed, victims))):
            if victim is not None and level.below:
                level.below.write_back(victim)
    return answers


accesses = st.lists(st.tuples(st.integers(0, 64 * 40 - 1), st.booleans()), max_size=300)


@given(accesses)
def test_filter_equals_reference(stream):
    address = np.array([a for a, _ in stream], np.uint64)
    is_store = np.array([s for _, s in stream], bool)
    instr_id = 3 * np.arange(len(stream)) + 1
    trace = llc_loads(address, address + np.uint64(7), is_store, instr_id, TINY)
    levels = np.array(reference_levels(TINY, stream), int)
    rows = (levels >= LLC) & ~is_store
    np.testing.assert_array_equal(trace.instr_id, instr_id[rows])
    np.testing.assert_array_equal(trace.address, address[rows])
    np.testing.assert_array_equal(trace.pc, address[rows] + np.uint64(7))
    np.testing.assert_array_equal(trace.hit, levels[rows] == LLC)
    waits = np.where(is_store, 0, np.array([0, 8, 28, 100])[levels])
    before = np.concatenate([[0], np.cumsum(waits)[:-1]]) if len(stream) else waits
    np.testing.assert_array_equal(trace.cycle, ((instr_id + before) // 4)[rows])


@settings(max_examples=30)
@given(accesses)
def test_recorder_equals_filter(stream):
    recorder = new_recorder(TINY, 10_000)
    for address, is_store in stream:
        if is_store:
            store(recorder, address, 3)
        else:
            load(recorder, 0x401000, address, 3)
    address = np.array([a for a, _ in stream], np.uint64)
    is_store = np.array([s for _, s in stream], bool)
    pc = np.full(len(stream), 0x401000, np.uint64)
    expected = llc_loads(address, pc, is_store, 3 * np.arange(len(stream)) + 3, TINY)
    for given_column, expected_column in zip(recorded_loads(recorder), expected):
        np.testing.assert_array_equal(given_column, expected_column)
        assert given_column.dtype == expected_column.dtype


def test_recorder_prints_up_to_its_last_instruction():
    recorder = new_recorder(TINY, 7)
    for block in range(5):
        load(recorder, 0x401000, 64 * block, 3)
    assert recorded_loads(recorder).instr_id.tolist() == [3, 6]


def levels(stream):
    caches = empty_caches(TINY)
    return [access(caches, 64 * block, is_store) for block, is_store in stream]


def loads(*blocks):
    return [(block, False) for block in blocks]


def test_least_recently_used_leaves_first():
    # Blocks 0, 2, 4 share an L1D set of two ways; 0 is touched again, so 2 has to go.
    assert levels(loads(0, 2, 0, 4, 0, 2)) == [MEMORY, MEMORY, L1D, MEMORY, L1D, L2]


def test_every_level_is_filled_and_answers():
    # 0, 4, 8, ... share one set everywhere: two ways in L1D and L2, four in the LLC.
    assert levels(loads(0, 4, 8, 0)) == [MEMORY, MEMORY, MEMORY, LLC]
    assert levels(loads(0, 4, 8, 12, 16, 0)) == [MEMORY] * 6


def test_dirty_victim_returns_to_the_next_level():
    # Even blocks share an L1D set, those of one residue modulo 4 a set of L2 and the LLC.
    # Block 0 leaves L1D for block 2, so 12 then drops 8 from L2; a clean 0 stays the oldest.
    stream = loads(4, 8, 2, 12)
    clean, dirty = (
        levels([(0, False), *stream, (0, False)]),
        levels([(0, True), *stream, (0, True)]),
    )
    assert clean[-1] == LLC
    assert dirty[-1] == L2


def test_stores_fill_but_are_not_printed():
    address = np.array([0, 8, 128, 0, 256], np.uint64)
    is_store = np.array([True, False, False, False, False])
    trace = llc_loads(address, address, is_store, np.arange(1, 6), CacheConfig())
    assert trace.address.tolist() == [128, 256]
    # A quarter of a cycle an instruction; only the load of 128 waits before that of 256.
    assert trace.cycle.tolist() == [0, 51]
    assert trace.hit.tolist() == [False, False]


@settings(max_examples=50)
@given(accesses, st.lists(st.integers(0, 300), max_size=5))
def test_a_stream_cut_anywhere_gives_what_one_call_gives(stream, cuts):
    """Also where a cut is empty, or within an instruction, with ids that repeat."""
    address = np.array([a for a, _ in stream], np.uint64)
    is_store = np.array([s for _, s in stream], bool)
    whole = Accesses(address, address + np.uint64(7), is_store, 1 + np.arange(len(stream)) // 3)
    expected = llc_loads(*whole, TINY)
    cache_filter, edges = CacheFilter(TINY), [0, *sorted(cuts), len(stream)]
    parts = [cache_filter(Accesses(*(column[a:b] for column in whole))) for a, b in pairwise(edges)]
    for column, expected_column in zip(zip(*parts), expected):
        np.testing.assert_array_equal(np.concatenate(column), expected_column)
        assert {part.dtype for part in column} == {expected_column.dtype}


def test_ids_may_not_step_back_between_chunks_either():
    cache_filter, one = CacheFilter(TINY), np.ones(1, np.uint64)
    cache_filter(Accesses(one, one, one.astype(bool), np.array([5])))
    with pytest.raises(ValueError, match=r"instr_id\[0\] = 4 after 5: expected program order"):
        cache_filter(Accesses(one, one, one.astype(bool), np.array([4])))


def test_presets_are_the_machines_they_are_named_after():
    sizes = {
        name: [level.size_bytes >> 10 for level in (config.l1d, config.l2, config.llc)]
        for name, config in CACHE_PRESETS.items()
    }
    assert sizes == {
        "ml_dpc": [48, 512, 2048],
        "champsim": [48, 512, 2048],
        "dpc4": [48, 2048, 3072],
        "small": [32, 128, 256],
    }
    assert CACHE_PRESETS["ml_dpc"] == CacheConfig()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"ways": 0}, "ways = 0: expected 1 or more"),
        ({"latency_cycles": -1}, "latency_cycles = -1: expected 0 or more"),
        ({"size_bytes": 2**40}, "size_bytes = 1099511627776: expected 1 GiB at most"),
        (
            {"size_bytes": 3 * 64 * 12},
            "size_bytes = 2304: expected 64 B blocks x 12 ways x a power",
        ),
    ],
)
def test_a_level_that_cannot_be_built_is_refused(values, message):
    with pytest.raises(ConfigError) as caught:
        CacheLevelConfig(**values)
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="memory_latency_cycles = -5: expected 0 or more"):
        CacheConfig(memory_latency_cycles=-5)


def test_empty_stream():
    empty = np.empty(0, np.uint64)
    assert llc_loads(empty, empty, empty.astype(bool), empty.astype(np.int64), TINY).rows == 0


def test_bad_streams_are_refused():
    one, two = np.zeros(1, np.uint64), np.zeros(2, np.uint64)
    with pytest.raises(ValueError, match=r"'pc': \(2,\).*equal lengths"):
        llc_loads(one, two, one.astype(bool), one.astype(np.int64), TINY)
    with pytest.raises(ValueError, match=r"instr_id\[1\] = 4 after 5: expected program order"):
        llc_loads(two, two, two.astype(bool), np.array([5, 4], np.uint64), TINY)
