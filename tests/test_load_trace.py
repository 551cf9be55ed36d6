import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from packd_jax.traces.load_trace import LoadTrace, TraceError, window_rows


def trace_of(ids):
    instr_id = np.array(ids, np.int64)
    rows = np.arange(len(ids))
    return LoadTrace(
        instr_id, rows * 7, rows.astype(np.uint64) << np.uint64(6), rows.astype(np.uint64), rows > 2
    )


def window(ids, start, stop, unit="instructions"):
    rows = window_rows(trace_of(ids), start, stop, unit)
    return list(range(len(ids)))[rows]


def test_windows_in_instructions_are_half_open():
    ids = [10, 20, 20, 30, 40]
    assert window(ids, 20, 30) == [1, 2]
    assert window(ids, 20, 31) == [1, 2, 3]
    assert window(ids, 0, 10) == []
    assert window(ids, 0, 100) == [0, 1, 2, 3, 4]
    assert window(ids, 41, 100) == []
    assert window([], 0, 100) == []


def test_an_id_that_steps_back_stays_with_the_loads_before_it():
    ids = [10, 30, 20, 29, 31, 5, 40]  # running maximum: 10 30 30 30 31 31 40
    assert window(ids, 0, 30) == [0]
    assert window(ids, 30, 31) == [1, 2, 3]
    assert window(ids, 31, 40) == [4, 5]


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.lists(st.integers(0, 60), min_size=2, max_size=4).map(sorted),
)
def test_adjacent_windows_share_no_row_and_lose_none(ids, edges):
    parts = [window(ids, start, stop) for start, stop in itertools.pairwise(edges)]
    assert list(itertools.chain(*parts)) == window(ids, edges[0], edges[-1])
    highest = [max(ids[: row + 1]) for row in range(len(ids))]
    assert parts[0] == [row for row, top in enumerate(highest) if edges[0] <= top < edges[1]]


def test_windows_in_rows_stop_at_the_end():
    ids = [5, 4, 3, 2, 1]
    assert window(ids, 1, 3, "rows") == [1, 2]
    assert window(ids, 3, 100, "rows") == [3, 4]
    assert window(ids, 7, 9, "rows") == []


def test_windows_in_percent_of_the_rows():
    ids = list(range(50))
    assert window(ids, 0, 10, "percent") == [0, 1, 2, 3, 4]
    assert window(ids, 90, 100, "percent") == window(ids, 90, 250, "percent") == ids[45:]
    assert window([3, 1, 2], 0, 50, "percent") == [0]


def test_an_unknown_unit_is_an_error():
    with pytest.raises(ValueError, match="unit = 'cycles': expected 'instructions'"):
        window_rows(trace_of([1]), 0, 1, "cycles")


def test_take_keeps_the_columns_together():
    trace = trace_of([3, 1, 2, 9]).take(np.array([3, 0]))
    assert trace.rows == 2
    assert [column.tolist() for column in trace] == [
        [9, 3],
        [21, 0],
        [192, 0],
        [3, 0],
        [True, False],
    ]


def test_an_error_says_which_file_where_what_was_given_and_expected():
    error = TraceError("a/t.txt", "line 7", "hit = '2'", "0 or 1")
    assert str(error) == "a/t.txt: line 7: hit = '2'; expected 0 or 1"
    assert (error.path, error.where) == ("a/t.txt", "line 7")
    assert (error.given, error.expected) == ("hit = '2'", "0 or 1")
    assert isinstance(error, ValueError)


def test_blocks_are_of_64_bytes():
    address = np.array([0, 63, 64, 2**63 + 65], np.uint64)
    trace = LoadTrace(*[np.zeros(4, np.int64)] * 2, address, address, np.zeros(4, bool))
    assert trace.block.tolist() == [0, 0, 1, 2**57 + 1] and trace.block.dtype == np.int64
