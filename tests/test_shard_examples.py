"""Rows of shards are those of memory, bit by bit: both encodings, all tokens, several traces."""

import dataclasses

import numpy as np
import pytest
import small_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.clustering import window_features
from packd_jax.config import ConfigError
from packd_jax.features import concatenate, encode, example_rows, learn_pc_vocabulary
from packd_jax.shards.examples import Part, ShardedExamples

ROWS = (6000, 1024 + 14, 3500)  # one has exactly one record
TRACES = [small_shards.trace(rows, seed) for seed, rows in enumerate(ROWS)]


@pytest.fixture(scope="module", params=small_shards.FEATURES)
def both(request, tmp_path_factory):
    """(features, windows, in memory, in shards) of three traces one after another."""
    features, folder = small_shards.FEATURES[request.param], tmp_path_factory.mktemp("shards")
    vocabulary = learn_pc_vocabulary([TRACES[0].pc[100:900]], features.pc_vocabulary)
    windows = [slice(700, 5900), slice(0, ROWS[1]), slice(3, 2900)]
    parts, encoded = [], []
    for number, (trace, window) in enumerate(zip(TRACES, windows)):
        path = folder / f"{number}.txt"
        small_shards.write(path, ROWS[number], number)
        store = small_shards.encoded(path, features)
        parts.append(Part(store, example_rows(window, features)))
        encoded.append(encode(trace, window, features, vocabulary))
    sharded = ShardedExamples(parts, features, vocabulary)
    return features, concatenate(encoded), sharded, parts


def assert_equal(found, expected):
    assert list(found.inputs) == list(expected.inputs)
    for name, values in expected.inputs.items():
        assert found.inputs[name].dtype == values.dtype
        np.testing.assert_array_equal(found.inputs[name], values, err_msg=name)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.trace_row, expected.trace_row)


def test_all_rows_are_those_of_memory(both):
    _, memory, sharded, _ = both
    assert sharded.rows == memory.rows
    assert_equal(sharded.take(slice(0, sharded.rows)), memory)
    assert_equal(sharded.take(slice(10, None, 7)), memory.take(slice(10, None, 7)))
    assert_equal(sharded.take(slice(5, 5)), memory.take(slice(5, 5)))


@settings(max_examples=30)
@given(data=st.data())
def test_any_rows_in_any_order(both, data):
    _, memory, sharded, _ = both
    rows = np.array(data.draw(st.lists(st.integers(0, memory.rows - 1), max_size=40)), np.int64)
    assert_equal(sharded.take(rows), memory.take(rows))


def test_a_permutation_of_all_rows(both):
    _, memory, sharded, _ = both
    rows = np.random.default_rng(0).permutation(memory.rows)
    assert_equal(sharded.take(rows), memory.take(rows))


@pytest.mark.parametrize("feature", ["a", "d", "i", "t"])
def test_windows_are_those_of_the_traces(both, feature):
    _, memory, sharded, parts = both
    expected = []
    for trace, part in zip(TRACES, parts):
        rows = np.arange(part.rows.start, part.rows.stop)
        expected.append(window_features(trace, rows, 4, feature))
    expected = np.concatenate(expected)
    found = sharded.windows(feature, 4, slice(None))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    rows = np.array([memory.rows - 1, 3, 4000, 3])
    np.testing.assert_array_equal(sharded.windows(feature, 4, rows), expected[rows])


def test_one_more_input_goes_with_the_rows(both):
    _, memory, sharded, _ = both
    ids = (np.arange(memory.rows) % 3).astype(np.uint8)
    more, rows = sharded.with_input("cluster", ids), np.array([9, 2, 2000])
    assert_equal(more.take(rows), memory.with_input("cluster", ids).take(rows))
    assert "cluster" not in sharded.take(rows).inputs
    with pytest.raises(ValueError, match=r"cluster \(1,\): expected"):
        sharded.with_input("cluster", ids[:1])


def test_what_is_not_there_is_refused(both):
    features, _, sharded, parts = both
    for row in (-1, sharded.rows):
        with pytest.raises(IndexError, match="expected 0 to"):
            sharded.take(np.array([3, row]))
    with pytest.raises(ValueError, match="expected 'a', 'd', 'i' or 't'"):
        sharded.windows("p", 4, slice(None))
    with pytest.raises(ValueError, match="look_back = 6: expected 1 to 5"):
        sharded.windows("a", 6, slice(None))
    store = parts[1].store
    with pytest.raises(ValueError, match="expected encoded rows, 5 to 1029"):
        ShardedExamples([Part(store, slice(5, 1030))], features, sharded.pc_vocabulary)
    with pytest.raises(ValueError, match="expected shards of FeatureConfig"):
        other = small_shards.TOKENS if features != small_shards.TOKENS else small_shards.ALL
        ShardedExamples(parts, other, sharded.pc_vocabulary)


def test_rows_that_are_dropped_cannot_be_encoded(tmp_path):
    small_shards.write(tmp_path / "t.txt", 100)
    features = dataclasses.replace(small_shards.TOKENS, keep_empty_labels=False)
    with pytest.raises(ConfigError, match="keep_empty_labels = False: expected True"):
        small_shards.encoded(tmp_path / "t.txt", features)
