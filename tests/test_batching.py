"""Row orders: permutations, random access by step, groups in turn; nested subsets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.batching import RowOrder, subset_rows

ROWS = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31], np.int32)


@given(st.integers(1, 40), st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_each_epoch_is_a_permutation(count, seed, epoch):
    rows = np.arange(count, dtype=np.int32) * 3
    order = RowOrder(rows, seed).permutation(epoch)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), rows)


@given(st.integers(1, 12), st.integers(0, 30), st.integers(1, 6), st.integers(1, 30))
def test_any_step_can_be_had_alone(count, start, steps, batch_size):
    rows = np.arange(count)
    all_steps = RowOrder(rows, 4).steps(0, start + steps, batch_size)
    some = RowOrder(rows, 4).steps(start, steps, batch_size)
    assert some.shape == (steps, batch_size)
    np.testing.assert_array_equal(some, all_steps[start:])


def test_steps_run_through_epoch_after_epoch():
    order = RowOrder(ROWS, 1)
    drawn = order.steps(0, 11, 5).ravel()  # five epochs of eleven rows
    expected = np.concatenate([RowOrder(ROWS, 1).permutation(e) for e in range(5)])
    np.testing.assert_array_equal(drawn, expected)


def test_seeds_and_epochs_differ_and_repeat():
    rows = np.arange(100)
    order = RowOrder(rows, 1)
    first, second = order.permutation(0).copy(), order.permutation(1).copy()
    assert (first != second).any()
    assert (first != RowOrder(rows, 2).permutation(0)).any()
    np.testing.assert_array_equal(order.permutation(0), first)
    np.testing.assert_array_equal(RowOrder(rows, 1).permutation(1), second)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 9))
def test_groups_are_visited_one_after_another(groups, epoch):
    groups = np.array(groups, np.uint8)
    rows = np.arange(len(groups), dtype=np.int32)
    visited = groups[RowOrder(rows, 0, groups).permutation(epoch)]
    np.testing.assert_array_equal(visited, np.sort(groups))
    np.testing.assert_array_equal(np.sort(RowOrder(rows, 0, groups).permutation(epoch)), rows)


def test_rows_of_a_group_are_shuffled_too():
    rows, groups = np.arange(200), np.repeat([1, 0], 100)
    order = RowOrder(rows, 0, groups)
    assert (np.diff(order.permutation(0)[:100]) < 0).any()
    assert (order.permutation(0).copy() != order.permutation(1)).any()


def test_no_rows_and_unequal_groups_are_refused():
    with pytest.raises(ValueError, match="expected at least one"):
        RowOrder(np.zeros(0, np.int32), 0)
    with pytest.raises(ValueError, match=r"groups \(3,\) and rows \(11,\)"):
        RowOrder(ROWS, 0, np.zeros(3))


@given(st.integers(1, 60), st.data())
def test_smaller_subsets_lie_in_larger_ones(total, data):
    small = data.draw(st.integers(1, total))
    large = data.draw(st.integers(small, total))
    seed = data.draw(st.integers(0, 100))
    few, more = subset_rows(total, small, seed), subset_rows(total, large, seed)
    assert (len(few), len(more)) == (small, large)
    assert set(few) <= set(more) <= set(range(total))
    assert few.dtype == np.int32 and (np.diff(few) > 0).all()


def test_a_count_of_zero_or_beyond_the_total_is_everything():
    for count in (0, 9, 10):
        np.testing.assert_array_equal(subset_rows(9, count, 3), np.arange(9))
    assert (subset_rows(1000, 10, 0) != subset_rows(1000, 10, 1)).any()
