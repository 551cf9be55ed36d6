"""One row a block that an access touches, and chunks of them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from packd_jax.traces.accesses import (
    MAX_ACCESS_BYTES,
    ROWS_AN_ACCESS,
    access_chunks,
    crosses_end,
    empty_accesses,
    put_access,
)
from packd_jax.traces.load_trace import TraceError


def blocks_of(first, size):
    """The first address in each block, in plain Python."""
    last = (first + size - 1) // 64
    return [first, *(64 * block for block in range(first // 64 + 1, last + 1))]


@given(st.integers(0, 2**64 - 1), st.integers(1, MAX_ACCESS_BYTES))
@example(2**64 - 1, 1)
@example(2**64 - MAX_ACCESS_BYTES, MAX_ACCESS_BYTES)
@example(63, MAX_ACCESS_BYTES)
def test_an_access_is_a_row_a_block(first, size):
    assert crosses_end(np.uint64(first), np.uint64(size)) == (first + size > 2**64)
    if first + size > 2**64:
        return
    columns = empty_accesses(ROWS_AN_ACCESS + 3)
    row = put_access(*columns, 3, np.uint64(first), np.uint64(size), np.uint64(7), True, 11)
    expected = blocks_of(first, size)
    assert row == 3 + len(expected) <= columns.rows
    assert columns.address[3:row].tolist() == expected
    assert set(columns.pc[3:row].tolist()) == {7}
    assert columns.is_store[3:row].all()
    assert set(columns.instr_id[3:row].tolist()) == {11}


def test_chunks_are_copies_of_what_the_columns_hold():
    columns = empty_accesses(4)
    chunks = []
    for chunk in access_chunks(iter([4, 1]), columns, "x"):
        chunks.append(chunk)
        for column in columns:
            column[:] = len(chunks)
    assert [chunk.rows for chunk in chunks] == [4, 1]
    assert chunks[1].address.tolist() == [1]
    assert [c.dtype.name for c in chunks[0]] == ["uint64", "uint64", "bool", "int64"]


def test_no_access_at_all_is_an_error():
    with pytest.raises(TraceError, match="x: the whole file: no load or store; expected a trace"):
        list(access_chunks(iter([]), empty_accesses(4), "x"))
