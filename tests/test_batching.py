"""Row orders: permutations, random access by step, groups in turn; nested subsets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.batching import RowOrder, lanes_for, same_lanes, subset_rows
from packd_jax.config import ConfigError, TrainConfig

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


@given(st.integers(1, 9_000), st.sampled_from([1, 2, 4]), st.integers(1, 8_192), st.data())
@settings(max_examples=40)
def test_lanes_deal_out_every_row_of_an_epoch(total, lanes, shuffle_rows, data):
    rows = np.arange(total) * 2 + 1
    order = RowOrder(rows, data.draw(st.integers(0, 9)), lanes=lanes, shuffle_rows=shuffle_rows)
    block = min(1024, total)
    assert order.lanes == lanes
    if lanes > 1:
        assert order.window_rows % block == 0
        assert lanes * order.window_rows <= max(shuffle_rows, lanes * block)
    blocks = -(-total // block)
    needed = -(-blocks * block // (lanes * order.window_rows))
    drawn = [order.window(lane, number) for number in range(needed) for lane in range(lanes)]
    assert all(len(window) == order.window_rows for window in drawn)
    assert set(np.concatenate(drawn).tolist()) == set(rows.tolist())


@given(st.integers(0, 200), st.integers(1, 30))
@settings(max_examples=30)
def test_steps_take_an_equal_part_of_every_lane(start, steps):
    order = RowOrder(range(10, 9_010), 5, lanes=4, shuffle_rows=8_192)
    drawn = order.steps(start, steps, 32).reshape(steps, 4, 8)
    for lane in range(4):
        numbers = range((start + steps) * 8 // order.window_rows + 1)
        stream = np.concatenate([order.window(lane, number) for number in numbers])
        np.testing.assert_array_equal(drawn[:, lane].ravel(), stream[start * 8 :][: steps * 8])


def test_blocks_come_from_everywhere_and_rows_of_a_window_are_mixed():
    order = RowOrder(range(2**20), 0, lanes=2, shuffle_rows=2**16)
    window = order.window(0, 0)
    blocks = np.unique(window // 1024)
    assert len(blocks) == 32 and np.ptp(blocks) > 700  # of 1,024
    assert len(np.unique(window[:64] // 1024)) > 20
    assert (order.window(1, 0) // 1024 != window // 1024).any()
    again = RowOrder(range(2**20), 0, lanes=2, shuffle_rows=2**16)
    np.testing.assert_array_equal(again.window(0, 5), order.window(0, 5))
    assert (RowOrder(range(2**20), 1, lanes=2).window(0, 0)[:9] != window[:9]).any()


def test_rows_beyond_31_bits_are_64_bits_wide():
    order = RowOrder(range(2**33, 2**33 + 5000), 0, lanes=2, shuffle_rows=2048)
    steps = order.steps(0, 2, 4)
    assert steps.dtype == np.int64 and steps.min() >= 2**33
    assert RowOrder(range(9), 0).steps(0, 1, 4).dtype == np.int32


def test_lanes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="expected one lane"):
        RowOrder(ROWS, 0, np.zeros(11), lanes=2)
    with pytest.raises(ValueError, match="a multiple of the 3 lanes"):
        RowOrder(ROWS, 0, lanes=3).steps(0, 1, 4)
    with pytest.raises(ValueError, match=r"orders of \[1, 3\] lanes"):
        same_lanes([RowOrder(ROWS, 0), RowOrder(ROWS, 0, lanes=3)])
    config = TrainConfig(batch_size=12, lanes=8, shuffle_rows=100)
    assert lanes_for(100, config) == 1
    with pytest.raises(ConfigError, match="batch_size = 12: 101 rows are drawn in lanes = 8"):
        lanes_for(101, config)
    assert lanes_for(101, TrainConfig(batch_size=16, lanes=8, shuffle_rows=100)) == 8
