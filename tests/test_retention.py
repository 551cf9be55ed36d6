"""Retention by hand: what enters the table, what is swept, and that it knows no future."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.config import ConfigError
from packd_jax.prefetch.policy import NONE
from packd_jax.prefetch.retention import RetentionConfig, retain


def retained(block, entries=4, least_count=2, free=1):
    chosen = np.full((len(block), free), NONE)
    return retain(chosen, np.array(block), RetentionConfig(entries, least_count)).tolist()


def test_blocks_loaded_again_are_kept():
    # 8 and 12 share an entry: 12 counts 8 down to 0 and takes its place with its second load.
    assert retained([8, 8, 5, 5, 6, 12, 12, 12, 12, 7]) == [
        *([NONE], [NONE], [8], [8], [5], [5], [5], [5]),
        [5],  # 12 is loaded now, so it is not touched
        [12],
    ]


def test_free_places_alone_are_filled():
    chosen = np.array([[1, NONE], [NONE, NONE], [3, 4], [7, NONE]])
    found = retain(chosen, np.array([9, 9, 2, 2]), RetentionConfig(4, 2))
    assert found.tolist() == [[1, NONE], [NONE, NONE], [3, 4], [7, 9]]
    assert chosen[3].tolist() == [7, NONE]  # the argument stays as it was


def test_a_sweep_goes_round():
    block = [0, 0, 1, 1, 2, 2, 3, 3, 9, 9, 9, 9]
    assert [place for (place,) in retained(block, 8)[-4:]] == [3, 0, 2, 3]


@given(
    block=st.lists(st.integers(0, 12), min_size=2, max_size=40),
    other=st.lists(st.integers(0, 12), min_size=40, max_size=40),
    cut=st.integers(1, 39),
)
def test_no_row_depends_on_a_later_one(block, other, cut):
    changed = block[:cut] + other[: len(block) - len(block[:cut])]
    assert retained(changed, free=2)[:cut] == retained(block, free=2)[:cut]


def test_state_is_counted():
    assert RetentionConfig(16384).bits == 16384 * (42 - 14 + 4) + 14


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"entries": 3}, "retention.entries = 3: expected a power of two"),
        ({"least_count": 16}, "retention.least_count = 16: expected 1 to 15"),
    ],
)
def test_tables_that_are_none(config, message):
    with pytest.raises(ConfigError, match=message):
        RetentionConfig(**config)
