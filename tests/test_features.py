"""Encodings against slow references in plain Python, and that no row sees its own future."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.config import FeatureConfig
from packd_jax.features import (
    concatenate,
    encode,
    example_rows,
    learn_pc_vocabulary,
    pc_tokens,
    unpack_labels,
)
from packd_jax.traces.load_trace import LoadTrace

SMALL = FeatureConfig(
    look_back=3,
    horizon=5,
    delta_bound=8,
    delta_exact=4,
    delta_log_buckets=3,
    pc_vocabulary=3,
    pc_hash_buckets=2,
)
LAST_BLOCK = 2**58 - 1
jumps = st.one_of(st.integers(-10, 10), st.integers(-(2**57), 2**57))


@st.composite
def traces(draw, low=12, high=40):
    """Traces whose blocks mostly step about nearby, and now and then leap."""
    block, loads = LAST_BLOCK // 2, []
    for jump in draw(st.lists(jumps, min_size=low, max_size=high)):
        block = min(max(block + jump, 0), LAST_BLOCK)
        loads.append(64 * block + draw(st.integers(0, 63)))
    return trace_of(loads, draw(st.integers(0, 1000)))


def trace_of(addresses, seed=0):
    rng, rows = np.random.default_rng(seed), len(addresses)
    return LoadTrace(
        np.arange(rows) * 7,
        np.arange(rows) * 3,
        np.array(addresses, np.uint64),
        rng.choice(np.array([0x400, 0x404, 0x888, 2**63 + 1, 2**64 - 1], np.uint64), rows),
        rng.random(rows) < 0.4,
    )


def random_trace(rows, seed=0):
    rng = np.random.default_rng(seed)
    return trace_of(64 * (10**6 + np.cumsum(rng.integers(-9, 10, rows))), seed)


def label_by_hand(trace, row, config):
    """The set bits of a row, straight from the definition."""
    bits = set()
    for later in range(row + 1, row + 1 + config.horizon):
        delta = int(trace.address[later]) // 64 - int(trace.address[row]) // 64
        if config.miss_labels and trace.hit[later]:
            continue
        if 0 < delta <= config.delta_bound:
            bits.add(delta - 1)
        elif -config.delta_bound <= delta < 0:
            bits.add(2 * config.delta_bound + delta)
    return bits


def token_by_hand(delta, config):
    """0, then the exact ones, then octaves (limits 2 * exact, 4 * exact, ...), by sign."""
    exact, buckets = config.delta_exact, config.delta_log_buckets
    if delta == 0:
        return 0
    if abs(delta) <= exact:
        return abs(delta) + (exact if delta < 0 else 0)
    bucket = 0
    while bucket < buckets - 1 and abs(delta) > exact * 2 ** (bucket + 1):
        bucket += 1
    return 1 + 2 * exact + bucket + (buckets if delta < 0 else 0)


def window_of(trace, row, config):
    return range(row - config.look_back + 1, row + 1)


@settings(max_examples=60)
@given(traces(), st.booleans(), st.booleans(), st.sampled_from(["segments", "tokens"]))
def test_labels_are_the_deltas_to_come(trace, miss_labels, keep_empty, encoding):
    config = dataclasses.replace(
        SMALL, miss_labels=miss_labels, keep_empty_labels=keep_empty, encoding=encoding
    )
    window = slice(2, trace.rows - 1)
    examples = encode(trace, window, config, np.unique(trace.pc)[:2])
    rows = list(range(3, trace.rows - 1 - config.horizon))
    expected = {row: label_by_hand(trace, row, config) for row in rows}
    if not keep_empty:
        expected = {row: bits for row, bits in expected.items() if bits}
    assert examples.trace_row.tolist() == list(expected)
    assert examples.labels.dtype == np.uint8
    assert examples.labels.shape == (len(expected), config.label_bits // 8)
    for bits, found in zip(expected.values(), unpack_labels(examples.labels)):
        assert set(np.flatnonzero(found)) == bits


def test_a_label_by_eye():
    #        row 3 is the current access; deltas +1, 0, -2, +8, +9
    blocks = [50, 60, 70, 100, 101, 100, 98, 108, 109]
    trace = trace_of([64 * b + 5 for b in blocks])
    trace.hit[:] = False
    trace.hit[6] = True
    examples = encode(trace, slice(0, 9), SMALL, np.zeros(0, np.uint64))
    assert examples.trace_row.tolist() == [3]
    assert np.flatnonzero(unpack_labels(examples.labels)[0]).tolist() == [0, 7, 14]
    assert examples.labels.tolist() == [[0b10000001, 0b01000000]]  # packed little end first
    misses = dataclasses.replace(SMALL, miss_labels=True)
    examples = encode(trace, slice(0, 9), misses, np.zeros(0, np.uint64))
    assert np.flatnonzero(unpack_labels(examples.labels)[0]).tolist() == [0, 7]


@settings(max_examples=40)
@given(traces())
def test_segments_are_the_digits_of_the_block_to_base_64(trace):
    config = dataclasses.replace(SMALL, encoding="segments")
    examples = encode(trace, slice(0, trace.rows), config, np.zeros(0, np.uint64))
    assert examples.inputs["segments"].dtype == np.uint8
    assert examples.inputs["segments"].shape == (examples.rows, 3, 10)
    for row, found in zip(examples.trace_row, examples.inputs["segments"]):
        for access, digits in zip(window_of(trace, row, config), found.tolist()):
            assert sum(d * 64**i for i, d in enumerate(digits)) == int(trace.address[access]) // 64
            assert max(digits) < 64


@settings(max_examples=60)
@given(traces(), st.sampled_from(["current", "previous"]))
def test_tokens_are_those_of_the_reference(trace, delta_from):
    config = dataclasses.replace(SMALL, delta_from=delta_from)
    vocabulary = np.array([0x404, 2**63 + 1], np.uint64)
    examples = encode(trace, slice(0, trace.rows), config, vocabulary)
    assert {name: (v.dtype, v.shape[1:]) for name, v in examples.inputs.items()} == {
        "delta": (np.uint8, (3,)),
        "pc": (np.uint8, (3,)),
        "offset": (np.uint8, ()),
    }
    block = [int(a) // 64 for a in trace.address]
    tokens = pc_tokens(trace.pc, vocabulary, config)
    for i, row in enumerate(examples.trace_row):
        window = window_of(trace, row, config)
        deltas = [
            block[row] - block[a] if delta_from == "current" else block[a] - block[a - 1]
            for a in window
        ]
        assert examples.inputs["delta"][i].tolist() == [token_by_hand(d, config) for d in deltas]
        assert examples.inputs["pc"][i].tolist() == tokens[list(window)].tolist()
        assert examples.inputs["offset"][i] == block[row] % 64
        if delta_from == "current":
            assert examples.inputs["delta"][i, -1] == 0


def test_the_vocabulary_is_the_most_frequent_pcs_ties_to_the_smaller():
    pcs = np.repeat(np.array([9, 4, 7, 5, 2**64 - 1], np.uint64), [2, 3, 2, 1, 2])
    assert learn_pc_vocabulary([pcs], 3).tolist() == [4, 7, 9]
    parts = [pcs[::-1][:4], pcs[::-1][4:]]
    assert learn_pc_vocabulary(parts, 3).tolist() == [4, 7, 9]
    assert learn_pc_vocabulary([pcs], 2).tolist() == [4, 7]
    assert learn_pc_vocabulary([pcs], 99).tolist() == [4, 5, 7, 9, 2**64 - 1]
    assert learn_pc_vocabulary([pcs], 0).tolist() == []


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 9), st.integers(1, 9))
def test_example_rows_look_back_beyond_the_window_and_never_ahead_of_it(
    start, length, look_back, horizon
):
    config = FeatureConfig(look_back=look_back, horizon=horizon)
    rows = example_rows(slice(start, start + length), config)
    possible = [
        row
        for row in range(start, start + length)
        if row - look_back >= 0 and row + horizon < start + length
    ]
    assert list(range(rows.start, rows.stop)) == possible


@pytest.mark.parametrize("encoding", ["segments", "tokens"])
def test_a_window_is_part_of_a_larger_one(encoding):
    config = dataclasses.replace(SMALL, encoding=encoding)
    trace, vocabulary = random_trace(80), np.array([0x400], np.uint64)
    whole = encode(trace, slice(0, 80), config, vocabulary)
    part = encode(trace, slice(30, 60), config, vocabulary)
    assert part.trace_row.tolist() == list(range(30, 55))
    same = whole.take(part.trace_row - whole.trace_row[0])
    for a, b in zip(same.inputs.values(), part.inputs.values()):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(same.labels, part.labels)


@pytest.mark.parametrize("encoding", ["segments", "tokens"])
def test_a_window_that_is_too_short_has_no_examples(encoding):
    config = dataclasses.replace(SMALL, encoding=encoding)
    examples = encode(random_trace(20), slice(4, 9), config, np.zeros(0, np.uint64))
    assert examples.rows == 0
    assert examples.labels.shape == (0, 2)


@pytest.mark.parametrize("delta_from", ["current", "previous"])
@pytest.mark.parametrize("encoding", ["segments", "tokens"])
def test_inputs_see_no_future_and_labels_nothing_beyond_the_horizon(encoding, delta_from):
    config = dataclasses.replace(SMALL, encoding=encoding, delta_from=delta_from, miss_labels=True)
    trace, vocabulary = random_trace(60), np.array([0x404, 0x888], np.uint64)
    window = slice(0, 60)
    before = encode(trace, window, config, vocabulary)

    def after(changed):
        other = random_trace(60, seed=1)
        columns = (np.where(changed, b, a) for a, b in zip(trace, other))
        return encode(LoadTrace(*columns), window, config, vocabulary)

    place = 20
    row = int(before.trace_row[place])
    future = after(np.arange(60) > row)
    for name, values in before.inputs.items():
        np.testing.assert_array_equal(future.inputs[name][: place + 1], values[: place + 1])
    assert (future.labels[place] != before.labels[place]).any()
    beyond = after(np.arange(60) > row + config.horizon)
    np.testing.assert_array_equal(beyond.labels[: place + 1], before.labels[: place + 1])
    past = after(np.arange(60) < row)
    np.testing.assert_array_equal(past.labels[place:], before.labels[place:])
    distant = after(np.arange(60) < row - config.look_back)
    for name, values in before.inputs.items():
        np.testing.assert_array_equal(distant.inputs[name][place:], values[place:])


def test_taking_and_concatenating_rows():
    examples = encode(random_trace(40), slice(0, 40), SMALL, np.zeros(0, np.uint64))
    first, last = examples.take(slice(0, 10)), examples.take(np.arange(10, examples.rows))
    again = concatenate([first, last])
    assert again.rows == examples.rows == 32
    np.testing.assert_array_equal(again.labels, examples.labels)
    np.testing.assert_array_equal(again.trace_row, examples.trace_row)
    for name in examples.inputs:
        np.testing.assert_array_equal(again.inputs[name], examples.inputs[name])
    assert concatenate([first]) is first
