"""Chunks put together."""

from itertools import pairwise

import numpy as np

from packd_jax.traces.gather import DTYPES, empty_loads, gather


def test_chunks_are_one_trace_in_order():
    rng = np.random.default_rng(0)
    whole = empty_loads(100_000)
    for column in whole:
        column[:] = rng.integers(0, 2**62, len(column)).astype(column.dtype)
    cuts = [0, 0, 1, 30_000, 30_001, 99_999, 100_000]
    chunks = [whole.take(slice(a, b)) for a, b in pairwise(cuts)]
    found = gather(iter(chunks))
    for column, expected, dtype in zip(found, whole, DTYPES):
        np.testing.assert_array_equal(column, expected)
        assert column.dtype == dtype
    assert found.address.base is None  # of its own, and no larger than it must be


def test_nothing_is_an_empty_trace():
    assert gather([]).rows == 0
