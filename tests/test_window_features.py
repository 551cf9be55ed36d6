"""Tables against slow references in plain Python, and that tokens are of the past alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import SMALL, random_trace, token_by_hand, traces

from packd_jax.config import FeatureConfig
from packd_jax.features import encode_inputs
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.window_features import WindowTables, window_tokens

ALL = dataclasses.replace(
    SMALL, local_deltas=2, local_entries=3, local_confidence=True, popularity_entries=4
)


def trace_of(pc, block):
    rows = np.arange(len(pc))
    pc, block = np.array(pc, np.uint64), np.array(block, np.uint64)
    return LoadTrace(rows, rows, block << np.uint64(6), pc, np.zeros(len(rows), bool))


def hashed(value):
    return value * 0x9E3779B97F4A7C15 % 2**64


def by_hand(trace, config):
    """All three kinds of tokens of all rows, from lists and dicts."""
    entries: dict = {}
    loads: dict = {}
    local, confidence, popularity = [], [], []
    for row, (pc, address) in enumerate(zip(trace.pc.tolist(), trace.address.tolist())):
        block = address // 64
        place, tag = (hashed(pc) >> 32) % config.local_entries, hashed(pc) >> 48
        known, last, history, sure = entries.get(place, (0, 0, [0] * config.local_deltas, 0))
        if known == tag:
            token = token_by_hand(block - last, config)
            sure = min(sure + 1, 7) if token == history[-1] else max(sure - 1, 0)
            history = history[1:] + [token]
        else:
            history, sure = [0] * config.local_deltas, 0
        entries[place] = tag, block, history, sure
        local.append(history)
        confidence.append(sure)

        def counter(block):
            return (hashed(block) >> 32) % config.popularity_entries

        seen = [loads.get(counter(block + distance), 0) for distance in (0, 1, 2, 4)]
        popularity.append([count.bit_length() for count in seen])
        loads[counter(block)] = min(loads.get(counter(block), 0) + 1, 15)
        if (row + 1) % (2 * config.popularity_entries) == 0:
            loads = {entry: count // 2 for entry, count in loads.items()}
    return {"local": local, "confidence": confidence, "popularity": popularity}


@settings(max_examples=60)
@given(
    traces(low=1, high=60),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([1, 2, 16]),
    st.data(),
)
def test_tokens_are_those_of_the_reference_whichever_rows_are_asked_for(
    trace, deltas, entries, counters, data
):
    config = dataclasses.replace(
        ALL, local_deltas=deltas, local_entries=entries, popularity_entries=counters
    )
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, trace.rows)] * 2)))
    found = window_tokens(trace, slice(start, stop), config)
    expected = by_hand(trace, config)
    assert list(found) == list(expected)
    for name, tokens in found.items():
        assert tokens.dtype == np.uint8
        assert tokens.tolist() == expected[name][start:stop]


@pytest.mark.parametrize("row", [9, 30, 77])
def test_no_row_depends_on_later_ones(row):
    trace, vocabulary = random_trace(80), np.array([0x404], np.uint64)
    later = np.arange(80) > row
    other = LoadTrace(*(np.where(later, b, a) for a, b in zip(trace, random_trace(80, seed=1))))
    whole = encode_inputs(trace, slice(3, 80), ALL, vocabulary)
    changed = encode_inputs(other, slice(3, 80), ALL, vocabulary)
    assert {"local", "confidence", "popularity"} < set(whole)
    for name, tokens in whole.items():
        np.testing.assert_array_equal(changed[name][: row - 2], tokens[: row - 2])
        assert row == 77 or (changed[name] != tokens).any()


@settings(max_examples=40)
@given(traces(low=12, high=60), st.integers(1, 20))
def test_chunks_of_rows_join_to_the_whole(trace, size):
    vocabulary = np.array([0x404], np.uint64)
    whole = encode_inputs(trace, slice(3, trace.rows), ALL, vocabulary)
    starts = range(3, trace.rows, size)
    chunks = [slice(start, min(start + size, trace.rows)) for start in starts]
    parts = [encode_inputs(trace, chunk, ALL, vocabulary) for chunk in chunks]
    tables = WindowTables(ALL)
    carried = [encode_inputs(trace, chunk, ALL, vocabulary, tables) for chunk in chunks]
    assert tables.rows == trace.rows
    for name, tokens in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), tokens)
        np.testing.assert_array_equal(np.concatenate([part[name] for part in carried]), tokens)


def test_tables_that_have_seen_later_loads_are_refused():
    trace, tables = random_trace(20), WindowTables(ALL)
    window_tokens(trace, slice(3, 9), ALL, tables)
    with pytest.raises(ValueError, match="tables of 9 loads for rows from 8 on"):
        window_tokens(trace, slice(8, 12), ALL, tables)


def test_features_that_are_off_are_not_there():
    trace = random_trace(20)
    assert window_tokens(trace, slice(3, 9), SMALL) == {}
    local = dataclasses.replace(SMALL, local_deltas=2)
    assert list(window_tokens(trace, slice(3, 9), local)) == ["local"]
    popularity = dataclasses.replace(SMALL, popularity_entries=8)
    assert list(window_tokens(trace, slice(3, 9), popularity)) == ["popularity"]


def test_local_tokens_are_the_last_deltas_of_the_same_pc():
    """PC 1 steps by 2, PC 2 by -1; the first load of a PC has no delta."""
    trace = trace_of([1, 2, 1, 2, 1, 2], [10, 50, 12, 49, 14, 48])
    config = FeatureConfig(local_deltas=2, local_entries=64)
    up, down = 2, config.delta_exact + 1
    local = window_tokens(trace, slice(0, 6), config)["local"]
    assert local.tolist() == [[0, 0], [0, 0], [0, up], [0, down], [up, up], [down, down]]
    alone = dataclasses.replace(config, local_entries=1)
    assert not window_tokens(trace, slice(0, 6), alone)["local"].any()  # of the other PC each time


def test_confidence_goes_up_with_repeats_and_down_without():
    deltas = [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 9, 1, 1, 2]
    trace = trace_of([1] * 15, 100 + np.cumsum([0, *deltas]))
    config = FeatureConfig(local_deltas=1, local_confidence=True)
    confidence = window_tokens(trace, slice(0, 15), config)["confidence"]
    assert confidence.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 6, 5, 6, 5]


def test_popularity_counts_past_loads_and_fades():
    config = FeatureConfig(popularity_entries=256)
    trace = trace_of([1] * 600, [100] * 300 + [99, 98, 96, 100] + [5000] * 296)
    tokens = window_tokens(trace, slice(0, 600), config)["popularity"]
    assert tokens[:17, 0].tolist() == [0, 1, 2, 2, 3, 3, 3, 3, *[4] * 9]
    assert tokens[300:304].tolist() == [[0, 4, 0, 0], [0, 1, 4, 0], [0, 0, 1, 4], [4, 0, 0, 0]]
    later = trace_of([1] * 600, [100] * 10 + [5000] * 502 + [100] * 88)
    tokens = window_tokens(later, slice(0, 600), config)["popularity"]
    assert tokens[512, 0] == 3  # 10 loads, halved once after 512
