"""On-line adaptation by hand, against the integers that it starts from, and without a future."""

import dataclasses

import numpy as np
import pytest
import small_student
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.config import ConfigError
from packd_jax.prefetch.online import Adaptation, AdaptationConfig
from packd_jax.quantize import quantize_student


def integers(**features):
    return quantize_student(small_student.float_student(**features))[0]


def loads(rows, seed=0, units=3):
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 256, (rows, units)).astype(np.uint8)
    return units, rng.integers(100, 112, rows), rng.random(rows) < 0.5


def test_before_a_label_is_complete_it_says_what_the_integers_say():
    student = integers()
    inputs = small_student.examples(student).inputs
    units = np.concatenate([part for _, part in student.hidden(inputs)])
    rows, horizon = len(units), student.features.horizon
    learning = Adaptation(student, AdaptationConfig(every=horizon))
    said = learning.logits(units, np.arange(rows), np.zeros(rows, bool))
    expected = student.logits(inputs)
    np.testing.assert_array_equal(said[:horizon], expected[:horizon])
    assert (said[horizon:] != expected[horizon:]).any()


def test_a_step_by_hand():
    student = integers(miss_labels=True)
    output = student.layers[-1]
    kernel, bias = output.kernel * 0, output.bias * 0
    student = dataclasses.replace(
        student, layers=(*student.layers[:-1], output._replace(kernel=kernel, bias=bias))
    )
    learning = Adaptation(student, AdaptationConfig(every=6, rate_shift=0))
    units = np.full((7, 3), 64, np.uint8)
    units[:, 1:] = 0
    block = np.array([100, 101, 102, 103, 101, 100, 97])
    hit = np.array([False, False, True, False, False, False, False])
    said = learning.logits(units, block, hit)
    assert not said[:6].any()  # the label of row 0 is complete with row 6, six loads later
    # Every logit was 0, so every thought a half: 2048 of 4096. Labels: +1, +3 and -3 (97); 102
    # was a hit. The bias steps by 2048 / 2^8, the weight by 2048 * 64 / 2^16 = 2, times unit 64.
    deltas = [*range(1, 9), *range(-8, 0)]
    assert said[6].tolist() == [8 + 128 if d in (1, 3, -3) else -8 - 128 for d in deltas]


def test_a_student_follows_a_stream_that_it_was_not_trained_on():
    student = integers()
    units = np.full((20_000, 3), 100, np.uint8)
    said = Adaptation(student).logits(units, 3 * np.arange(20_000), np.zeros(20_000, bool))
    probability = 1 / (1 + np.exp(-said[-1] * student.logit_scale))
    deltas = np.array([*range(1, 9), *range(-8, 0)])
    expected = np.isin(deltas, [3, 6]).astype(float)
    np.testing.assert_allclose(probability, expected, atol=0.1)


@given(seed=st.integers(0, 1000), cut=st.integers(1, 59), every=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_no_row_depends_on_a_later_one_and_pieces_are_as_good_as_the_whole(seed, cut, every):
    student, config = integers(miss_labels=True), AdaptationConfig(every=every, rate_shift=2)
    now, later = loads(60, seed), loads(60, seed + 1)
    whole = Adaptation(student, config).logits(*now)
    changed = [np.concatenate([a[:cut], b[cut:]]) for a, b in zip(now, later)]
    np.testing.assert_array_equal(Adaptation(student, config).logits(*changed)[:cut], whole[:cut])
    pieces = Adaptation(student, config)
    parts = [pieces.logits(*(a[part] for a in now)) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_state_is_counted():
    # 3 units, 16 deltas; horizon 6, so two loads wait with every=4.
    bits = Adaptation(integers(), AdaptationConfig(every=4)).bits
    assert bits == 24 * 4 * 16 + 2 * (42 + 8 + 3 * 8 + 16 * (12 + 1))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"units \(60, 2\).*expected \(60, 3\)"):
        Adaptation(integers()).logits(*loads(60, units=2))
    with pytest.raises(ConfigError, match=r"adaptation.every = 0: expected 1 or more"):
        AdaptationConfig(every=0)
    with pytest.raises(ConfigError, match=r"adaptation.rate_shift = 17: expected 0 to 16"):
        AdaptationConfig(rate_shift=17)
