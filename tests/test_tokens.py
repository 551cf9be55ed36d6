"""Tokens of deltas and PCs against slow references in plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_features import LAST_BLOCK, SMALL, token_by_hand

from packd_jax.config import FeatureConfig
from packd_jax.tokens import delta_token, pc_tokens

deltas = st.one_of(st.integers(-200, 200), st.integers(-LAST_BLOCK, LAST_BLOCK))


@given(deltas, st.integers(1, 69), st.integers(1, 58))
def test_delta_tokens_fit_their_vocabulary_and_mirror_by_sign(delta, exact, buckets):
    config = FeatureConfig(delta_exact=exact, delta_log_buckets=buckets)
    token, mirrored = (delta_token(d, exact, buckets) for d in (delta, -delta))
    assert token == token_by_hand(delta, config)
    assert 0 <= token < config.delta_vocabulary
    if 0 < abs(delta) <= exact:
        assert mirrored - token == (exact if delta > 0 else -exact)
    elif delta:
        assert mirrored - token == (buckets if delta > 0 else -buckets)


@given(st.integers(1, LAST_BLOCK), st.integers(1, LAST_BLOCK))
def test_delta_tokens_are_exact_near_zero_and_monotone_beyond(a, b):
    small, large = sorted((a, b))
    for sign in (1, -1):
        near = [delta_token(sign * d, 32, 12) for d in range(33)]
        assert len(set(near)) == 33
        assert delta_token(sign * small, 32, 12) <= delta_token(sign * large, 32, 12)
    edges = [64, 65, 128, 129, 2**57, LAST_BLOCK]
    assert [delta_token(d, 32, 12) for d in edges] == [65, 66, 66, 67, 76, 76]


def test_every_delta_token_occurs():
    config = SMALL
    reach = [delta_token(d, config.delta_exact, config.delta_log_buckets) for d in range(-99, 100)]
    assert sorted(set(reach)) == list(range(config.delta_vocabulary))


def test_pcs_of_the_vocabulary_have_their_place_and_others_hash_behind_it():
    config = FeatureConfig(pc_vocabulary=6, pc_hash_buckets=4)
    vocabulary = np.array([3, 10, 2**64 - 1], np.uint64)
    pcs = np.concatenate([vocabulary[::-1], np.arange(1000, 3000, dtype=np.uint64)])
    tokens = pc_tokens(pcs, vocabulary, config)
    assert tokens.dtype == np.uint8
    assert tokens[:3].tolist() == [2, 1, 0]
    expected = [6 + (((int(pc) * 0x9E3779B97F4A7C15) % 2**64) >> 32) % 4 for pc in pcs[3:]]
    assert tokens[3:].tolist() == expected
    # a hash that spreads: each bucket gets its quarter within a third
    assert np.bincount(tokens[3:] - 6, minlength=4).min() > 2000 / 4 * 2 / 3


def test_without_a_vocabulary_every_pc_hashes():
    config = FeatureConfig(pc_vocabulary=0, pc_hash_buckets=8)
    pcs = np.arange(100, dtype=np.uint64)
    tokens = pc_tokens(pcs, np.zeros(0, np.uint64), config)
    assert sorted(set(tokens.tolist())) == list(range(8))
