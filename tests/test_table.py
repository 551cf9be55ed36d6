from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from latency_jax.table import (
    TableError,
    configurations,
    joined,
    make_table,
    split,
    split_largest,
    split_range,
    split_text,
)


def numbered(rows, **columns):
    """A table whose latency is the row number plus one."""
    return make_table("generic", {"x": np.arange(rows), **columns}, np.arange(rows) + 1.0)


def row_numbers(table):
    return (table.latency - 1).astype(int)


def test_columns_become_one_of_four_types():
    table = make_table(
        "generic",
        {
            "flag": [True, False],
            "count": np.array([1, 2], np.uint8),
            "share": np.array([1, 2], np.float32),
            "name": ["a", "bc"],
        },
        [1, 2],
    )
    assert [c.dtype.str[:2] for c in table.columns.values()] == ["|b", "<i", "<f", "<U"]
    assert table.columns["share"].dtype == table.latency.dtype == np.float64
    assert table.rows == 2


@pytest.mark.parametrize(
    ("columns", "latency", "message"),
    [
        ({"x": [1]}, [0.0], r"latency, row 0: 0.0; expected a positive"),
        ({"x": [1, 2]}, [1.0, np.nan], r"latency, row 1: nan"),
        ({"x": [1]}, [], r"latency has shape \(0,\)"),
        ({}, [1.0], r"no columns"),
        ({"x": [1, 2]}, [1.0], r"'x' has shape \(2,\): expected \(1,\)"),
        ({"x": [1.0, np.inf]}, [1.0, 1.0], r"'x', row 1: inf"),
        ({"x": np.array([1, "a"], object)}, [1.0, 1.0], r"'x' holds object"),
    ],
)
def test_bad_tables_are_named(columns, latency, message):
    with pytest.raises(TableError, match=message):
        make_table("generic", columns, latency)


@given(st.integers(10, 60), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_test_rows_are_those_of_scikit_learn(rows, seed):
    rest, test = train_test_split(np.arange(rows), test_size=0.2, random_state=seed)
    splits = split(numbered(rows), seed)
    np.testing.assert_array_equal(row_numbers(splits.test), test)
    train, validation = train_test_split(rest, test_size=0.1, random_state=seed)
    np.testing.assert_array_equal(row_numbers(splits.validation), validation)
    np.testing.assert_array_equal(row_numbers(splits.train), train)
    np.testing.assert_array_equal(splits.test.columns["x"], test)


@given(st.lists(st.integers(0, 12), min_size=30, max_size=60), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_equal_configurations_never_straddle(values, seed):
    values = np.array([*values, 20, 21, 22, 23])  # so that there are enough to draw from
    table = numbered(len(values), x=values, y=np.char.mod("%d", values))
    splits = split(table, seed, by_configuration=True)
    held = [set(part.columns["x"].tolist()) for part in splits]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert sorted(np.concatenate([p.latency for p in splits])) == sorted(table.latency)


def test_splits_by_configuration_of_distinct_rows_hold_the_same_rows():
    table = numbered(50)
    for plain, grouped in zip(split(table, 3), split(table, 3, by_configuration=True)):
        assert sorted(plain.latency) == sorted(grouped.latency)


def test_configurations_are_numbered_as_they_appear():
    columns = {"a": np.array([5, 1, 5, 1, 5]), "b": np.array(["u", "u", "u", "v", "u"])}
    table = make_table("generic", columns, np.ones(5))
    assert configurations(table).tolist() == [0, 1, 0, 2, 0]


def test_too_few_rows_to_split():
    with pytest.raises(TableError, match="2 rows, 2 to draw from: expected 3"):
        split(numbered(2), 0)
    with pytest.raises(TableError, match="9 rows, 1 to draw from"):
        split(numbered(9, x=np.zeros(9)), 0, by_configuration=True)


def test_largest_rows_are_held_out_with_their_equals():
    table = numbered(10, size=np.array([1, 9, 2, 8, 8, 3, 1, 1, 1, 1]))
    splits = split_largest(table, "size", 0.2, seed=0)
    assert sorted(splits.test.columns["size"]) == [8, 8, 9]
    rest = [*splits.train.columns["size"], *splits.validation.columns["size"]]
    assert sorted(rest) == [1, 1, 1, 1, 1, 2, 3]
    by_array = split_largest(table, -table.latency, 0.2, seed=0)
    assert sorted(by_array.test.latency) == [1, 2]


def test_a_range_is_held_out():
    table = numbered(10, load=np.array([0, 0.45, 0.5, 0.55, 1.0] * 2))
    splits = split_range(table, "load", 0.4, 0.55, seed=0)
    assert sorted(splits.test.columns["load"]) == [0.45] * 2 + [0.5] * 2 + [0.55] * 2
    assert splits.train.rows == 3 and splits.validation.rows == 1
    with pytest.raises(TableError, match=r"no row has load from 0\.7 to 0\.8: it goes from 0 to 1"):
        split_range(table, "load", 0.7, 0.8, seed=0)
    with pytest.raises(TableError, match="no column 'lod': expected one of x, load"):
        split_range(table, "lod", 0.7, 0.8, seed=0)
    with pytest.raises(TableError, match="8 of 8 rows are held out"):
        split_range(numbered(8, load=np.zeros(8)), "load", 0, 0, seed=0)
    with pytest.raises(TableError, match="column 'name' holds text"):
        split_range(numbered(2, name=np.array(["a", "b"])), "name", 0, 0, seed=0)


def test_bad_shares_and_sizes():
    with pytest.raises(TableError, match=r"share = 1\.0"):
        split_largest(numbered(8), "x", 1.0, seed=0)
    with pytest.raises(TableError, match=r"expected numbers \[8\]"):
        split_largest(numbered(8), np.ones(7), 0.5, seed=0)


def test_tables_are_joined_row_after_row():
    first = make_table("dense", {"x": np.array([1, 2]), "name": np.array(["a", "b"])}, [1.0, 2.0])
    second = make_table("dense", {"name": np.array(["long"]), "x": np.array([0.5])}, [3.0])
    both = joined([first, second])
    assert both.columns["x"].tolist() == [1, 2, 0.5] and both.latency.tolist() == [1, 2, 3]
    assert both.columns["name"].tolist() == ["a", "b", "long"]
    for other in (replace(second, kind="conv2d"), make_table("dense", {"x": np.ones(1)}, [1.0])):
        with pytest.raises(TableError, match="expected dense with x, name"):
            joined([first, other])


def test_rows_of_a_text_are_held_out():
    columns = {"x": np.arange(20), "device": np.array(["a", "b"] * 10)}
    table = make_table("generic", columns, np.ones(20))
    splits = split_text(table, "device", "b", seed=0)
    assert splits.test.columns["device"].tolist() == ["b"] * 10
    rest = [*splits.train.columns["device"], *splits.validation.columns["device"]]
    assert rest == ["a"] * 10
    with pytest.raises(TableError, match="no row has device = 'c': expected one of 'a', 'b'"):
        split_text(table, "device", "c", seed=0)
