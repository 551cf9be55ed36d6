"""The policy by hand: thresholds, orders, the filter, pages, and that it knows no future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from packd_jax.config import ConfigError
from packd_jax.prefetch.policy import NONE, Policy, PolicyConfig, bitmap_deltas

DELTAS = np.array([1, 2, 3, -1])


def chosen(probability, block=(100,), **config):
    probability = np.array(probability, np.float32).reshape(len(block), -1)
    return Policy(DELTAS, PolicyConfig(**config)).choose(probability, np.array(block)).tolist()


def test_deltas_of_a_bitmap_are_those_of_labels():
    assert bitmap_deltas(8).tolist() == [1, 2, 3, 4, -4, -3, -2, -1]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [103, 99]),
        ({"threshold": 0.6}, [103, NONE]),
        ({"threshold": 1.0}, [NONE, NONE]),
        ({"degree": 1}, [103]),
        ({"degree": 4}, [103, 99, 102, 101]),
        ({"nearness": 2}, [99, 103]),  # .5 e^-.5 = .303 before .9 e^-1.5 = .201, .3 e^-1 = .110
        ({"nearness": 2, "threshold": 0.25}, [99, NONE]),
        ({"minimum_lead": 2}, [103, 102]),
        ({"minimum_lead": 4}, [NONE, NONE]),
    ],
)
def test_likely_deltas_by_hand(config, expected):
    assert chosen([[0.1, 0.3, 0.9, 0.5]], **config) == [expected]


def test_threshold_is_reached_at_equality():
    assert chosen([[0.25, 0, 0, 0]], threshold=0.25) == [[101, NONE]]


def test_what_was_asked_for_or_loaded_is_left_out_while_the_filter_holds_it():
    rows = [[0.9, 0.8, 0.7, 0.6]] * 2
    assert chosen(rows, (100, 101)) == [[101, 102], [103, 104]]
    assert chosen(rows, (100, 101), filter_blocks=0) == [[101, 102], [102, 103]]
    assert chosen(rows, (100, 101), filter_blocks=1) == [[101, 102], [102, 103]]
    # 100 + 2**17 shares the entry and, with 2 entries and tags of 16 bits, the tag of 100.
    alias = 100 + 2**17
    assert chosen([[0.9, 0, 0, 0]] * 2, (100, alias - 1), filter_blocks=2)[1] == [NONE, NONE]


def test_later_loads_have_places_for_what_is_left():
    first, none = [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0]
    rows, block = [first, none, none], (100, 500, 900)
    assert chosen(rows, block) == [[101, 102], [NONE, NONE], [NONE, NONE]]
    assert chosen(rows, block, backlog=8) == [[101, 102], [99, 103], [NONE, NONE]]
    assert chosen(rows, block, backlog=1) == [[101, 102], [103, NONE], [NONE, NONE]]
    # What was loaded since is not asked for, nor what a load's own prefetches have no place for.
    assert chosen([first, none, none], (100, 99, 900), backlog=8)[1] == [103, NONE]
    own = [[0.9, 0, 0, 0]]
    assert chosen([first, *own, none], block, backlog=8)[1:] == [[501, 99], [103, NONE]]


def test_pages_are_crossed_on_request():
    row = [[0.9, 0.8, 0.7, 0.6]]
    assert chosen(row, (62,), cross_page=False) == [[63, 61]]
    assert chosen(row, (62,)) == [[63, 64]]
    assert chosen([[0, 0, 0, 0.9]], (0,)) == [[NONE, NONE]]  # no block lies below 0


@settings(max_examples=50, deadline=None)
@given(
    probability=hnp.arrays(np.float32, (20, 4), elements=st.floats(0, 1, width=32)),
    block=hnp.arrays(np.int64, 20, elements=st.integers(0, 300)),
    nearness=st.sampled_from([0, 2]),
    backlog=st.sampled_from([0, 3]),
    cut=st.integers(1, 19),
)
def test_no_row_depends_on_a_later_one(probability, block, nearness, backlog, cut):
    config = PolicyConfig(nearness=nearness, backlog=backlog, threshold=0.3, filter_blocks=16)
    whole = Policy(DELTAS, config).choose(probability, block)
    policy = Policy(DELTAS, config)
    parts = [policy.choose(probability[part], block[part]) for part in (slice(cut), slice(cut, 20))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    for row, blocks in enumerate(whole):
        asked = blocks[blocks != NONE]
        assert len(set(asked.tolist())) == len(asked)
        if backlog:
            continue  # of other loads, too
        places = [DELTAS.tolist().index(d) for d in (asked - block[row]).tolist()]
        assert (probability[row, places] >= np.float32(0.3)).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"threshold": 2.0}, "policy.threshold = 2.0: expected 0 to 1"),
        ({"degree": 0}, "policy.degree = 0: expected at least 1"),
        ({"nearness": -1}, "policy.nearness = -1: expected 0 or more blocks"),
        ({"backlog": -1}, "policy.backlog = -1: expected 0 to 1024"),
        ({"filter_blocks": 3}, "policy.filter_blocks = 3: expected 0 or a power of two"),
    ],
)
def test_policies_that_are_none(config, message):
    with pytest.raises(ConfigError, match=message):
        PolicyConfig(**config)


def test_shapes_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"probability \(2, 3\): expected \(2, 4\)"):
        Policy(DELTAS, PolicyConfig()).choose(np.zeros((2, 3)), np.zeros(2, int))
