"""Windows that Grain reads ahead are those of the order, also after an interruption."""

import itertools
import json

import numpy as np
import pytest
import small_shards

from packd_jax.batching import RowOrder
from packd_jax.features import encode, example_rows, learn_pc_vocabulary
from packd_jax.shards.examples import Part, ShardedExamples
from packd_jax.shards.loader import windows

ROWS = 6500
TRACE = small_shards.trace(ROWS)
WINDOW = slice(100, 6400)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "t.txt"
    small_shards.write(path, ROWS)
    features = small_shards.TOKENS
    store = small_shards.encoded(path, features)
    vocabulary = learn_pc_vocabulary([TRACE.pc], features.pc_vocabulary)
    part = Part(store, example_rows(WINDOW, features))
    memory = encode(TRACE, WINDOW, features, vocabulary)
    return memory, ShardedExamples([part], features, vocabulary)


def assert_window(found, examples):
    inputs, labels = found
    assert list(inputs) == list(examples.inputs)
    for name, values in examples.inputs.items():
        np.testing.assert_array_equal(inputs[name], values)
    np.testing.assert_array_equal(labels, examples.labels)


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 0), (1, 1), (3, 5)])
@pytest.mark.parametrize("lane", [0, 1])
def test_windows_are_the_rows_of_the_order_over_epochs(both, threads, prefetch, lane):
    memory, sharded = both
    order = RowOrder(range(memory.rows), seed=4, lanes=2, shuffle_rows=4096)
    for examples in (memory, sharded):
        found = windows(examples, order, lane, first=1, threads=threads, prefetch=prefetch)
        for number, window in enumerate(itertools.islice(found, 5), 1):
            assert_window(window, memory.take(order.window(lane, number)))


def test_the_windows_of_all_lanes_are_the_steps(both):
    memory, sharded = both
    order = RowOrder(range(memory.rows), seed=2, lanes=2, shuffle_rows=4096)
    steps = 3 * order.window_rows // 50
    drawn = memory.labels[order.steps(0, steps, 100)]
    lanes = [[labels for _, labels in windows(sharded, order, lane, count=3)] for lane in (0, 1)]
    found = [np.concatenate(lane)[: 50 * steps].reshape(steps, 50, -1) for lane in lanes]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), drawn)


def test_a_restored_iterator_goes_on(both):
    memory, sharded = both
    order = RowOrder(range(memory.rows), seed=1, lanes=3, shuffle_rows=3072)
    whole = list(itertools.islice(windows(sharded, order), 9))
    interrupted = windows(sharded, order)
    for _ in range(4):
        next(interrupted)
    state = json.loads(json.dumps(interrupted.get_state()))
    next(interrupted)  # what is read behind the state is given again
    restored = windows(sharded, order, threads=1, prefetch=2)
    restored.set_state(state)
    for expected in whole[4:]:
        (inputs, labels), (wanted, truth) = next(restored), expected
        np.testing.assert_array_equal(labels, truth)
        for name, values in wanted.items():
            np.testing.assert_array_equal(inputs[name], values)


def test_a_lane_that_is_not_there_is_refused(both):
    memory, _ = both
    with pytest.raises(ValueError, match="lane = 2: expected 0 to 1"):
        windows(memory, RowOrder(range(memory.rows), 0, lanes=2), lane=2)
