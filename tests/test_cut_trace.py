"""Pieces of a trace are its rows, however it comes, and nothing is lost between them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shards import ALL, SEGMENTS, TOKENS, trace

from packd_jax.features import encode_inputs
from packd_jax.shards.cut_trace import CutTrace

L, H = TOKENS.look_back, TOKENS.horizon


def chunks(whole, size):
    for start in range(0, whole.rows, size):
        yield whole.take(slice(start, start + size))


@settings(max_examples=25)
@given(
    st.integers(1, 5000),
    st.integers(1, 2500),
    st.sampled_from([1024, 2048]),
    st.sampled_from([TOKENS, ALL, SEGMENTS]),
)
def test_pieces_are_the_trace(rows, chunk, piece_rows, features):
    whole = trace(rows)
    cut = CutTrace(chunks(whole, chunk), features, piece_rows)
    examples = max(rows - L - H, 0)
    pieces, done = list(cut), 0
    for number, piece in enumerate(pieces):
        assert piece.shard == number
        assert piece.rows == min(piece_rows, examples - done) > 0
        own = slice(done, done + L + piece.rows + H)
        np.testing.assert_array_equal(piece.block, whole.block[own])
        counted = ~whole.hit[own] if features.miss_labels else np.ones(len(piece.block), bool)
        np.testing.assert_array_equal(piece.counted, counted)
        own = slice(done, done + L + piece.rows)
        np.testing.assert_array_equal(cut.facts.pcs[piece.pc], whole.pc[own])
        np.testing.assert_array_equal(piece.instr_id, whole.instr_id[own][L:])
        done += piece.rows
    assert done == examples
    if features == ALL and examples:
        rows_of = slice(L, L + examples)
        inputs = encode_inputs(whole, rows_of, features, np.zeros(0, np.uint64))
        for name in ("local", "confidence", "popularity"):
            found = np.concatenate([piece.tokens[name] for piece in pieces])
            np.testing.assert_array_equal(found, inputs[name])
    check_facts(cut.facts, whole, examples)


def check_facts(facts, whole, examples):
    assert facts.rows == whole.rows
    seen = np.maximum.accumulate(whole.instr_id)
    ends = np.minimum(np.arange(1024, examples + 1024, 1024), examples) + L - 1
    assert facts.latest_instr_id.tolist() == seen[ends[: -(-examples // 1024)]].tolist()
    np.testing.assert_array_equal(facts.first_instr_id, whole.instr_id[:L])
    np.testing.assert_array_equal(facts.last_instr_id, whole.instr_id[L + examples :])
    assert facts.instr_ids == (whole.instr_id.min(), whole.instr_id.max())
    _, first = np.unique(whole.pc, return_index=True)
    assert facts.pcs.tolist() == whole.pc[np.sort(first)].tolist()


@pytest.mark.parametrize("unwanted", [{0}, {1, 2}, {0, 1, 2, 3, 4}])
def test_pieces_that_are_there_already_change_nothing_for_the_others(unwanted):
    whole = trace(4700)
    all_of_them = CutTrace(chunks(whole, 999), ALL, 1024)
    expected = {piece.shard: piece for piece in all_of_them}
    asked = []

    def is_wanted(shard, rows):
        asked.append((shard, rows))
        return shard not in unwanted

    cut = CutTrace(chunks(whole, 333), ALL, 1024, is_wanted)
    found = {piece.shard: piece for piece in cut}
    assert set(found) == set(expected) - unwanted
    assert asked == [(0, 1024), (1, 1024), (2, 1024), (3, 1024), (4, 4700 - L - H - 4096)]
    for shard, piece in found.items():
        for name, values in piece._asdict().items():
            if name != "tokens":
                np.testing.assert_array_equal(values, getattr(expected[shard], name))
        for name, tokens in piece.tokens.items():
            np.testing.assert_array_equal(tokens, expected[shard].tokens[name])
    for a, b in zip(cut.facts, all_of_them.facts):
        np.testing.assert_array_equal(a, b)


def test_a_trace_that_ends_with_a_piece_has_no_more():
    whole = trace(2 * 1024 + L + H)
    cut = CutTrace(chunks(whole, 500), dataclasses.replace(TOKENS), 1024)
    assert [piece.rows for piece in cut] == [1024, 1024]
    check_facts(cut.facts, whole, 2048)
