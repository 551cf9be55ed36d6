"""What students think of the loads of a trace, and what a policy makes of it."""

from functools import partial

import jax
import numpy as np
import pytest
import small_student
import small_study

from packd_jax.features import encode_inputs
from packd_jax.prefetch import learned
from packd_jax.prefetch.learned import (
    AdaptiveStudent,
    choose_prefetches,
    decide,
    probabilities,
    storage_bits,
)
from packd_jax.prefetch.online import Adaptation, AdaptationConfig
from packd_jax.prefetch.policy import NONE, Policy, PolicyConfig, bitmap_deltas
from packd_jax.prefetch.retention import RetentionConfig, retain
from packd_jax.quantize import quantize_student

TRACE = small_study.trace(300)


def students():
    floats = small_student.float_student()
    integers, _ = quantize_student(floats)
    return {"float": floats, "int8": integers, "adaptive": AdaptiveStudent(integers)}


def thoughts(student, rows=slice(0, TRACE.rows), trace=TRACE):
    found = list(probabilities(student, trace, rows))
    return np.concatenate([p for _, p in found]), found


def test_floats_say_what_jax_says():
    student = students()["float"]
    whole, parts = thoughts(student)
    rows = slice(student.features.look_back, TRACE.rows)
    inputs = encode_inputs(TRACE, rows, student.features, student.pc_vocabulary)
    expected = jax.nn.sigmoid(small_student.float_logits(student, inputs))
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-6)
    assert parts[0][0].start == 3 and parts[-1][0].stop == 300


def test_integers_say_their_logits_times_the_scale():
    student = students()["int8"]
    rows = slice(student.features.look_back, TRACE.rows)
    inputs = encode_inputs(TRACE, rows, student.features, student.pc_vocabulary)
    expected = jax.nn.sigmoid(student.logits(inputs) * np.float32(student.logit_scale))
    np.testing.assert_allclose(thoughts(student)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["float", "int8", "adaptive"])
def test_part_of_the_loads_and_any_pieces_say_the_same(kind, monkeypatch):
    student = students()[kind]
    whole, _ = thoughts(student)
    alike = partial(np.testing.assert_allclose, rtol=1e-5 if kind == "float" else 0)
    alike(thoughts(student, slice(100, 200))[0], whole[97:197])
    monkeypatch.setattr(learned, "CHUNK", 37)
    alike(thoughts(student)[0], whole)
    alike(thoughts(student, slice(100, 200))[0], whole[97:197])


@pytest.mark.parametrize("kind", ["float", "int8", "adaptive"])
def test_no_thought_depends_on_later_loads(kind):
    student, other = students()[kind], small_study.trace(300, seed=1)
    mixed = TRACE._replace(
        **{
            name: np.concatenate([now[:150], later[150:]])
            for name, now, later in zip(TRACE._fields, TRACE, other)
        }
    )
    whole, changed = thoughts(student)[0], thoughts(student, trace=mixed)[0]
    np.testing.assert_array_equal(changed[:147], whole[:147])
    assert (changed[147:] != whole[147:]).any()


def test_an_adaptive_student_differs_once_it_has_learned():
    all_students = students()
    fixed, adaptive = (thoughts(all_students[kind])[0] for kind in ("int8", "adaptive"))
    horizon = small_study.FEATURES.horizon
    np.testing.assert_array_equal(fixed[:horizon], adaptive[:horizon])
    assert np.abs(fixed - adaptive)[horizon:].max() > 0


def test_the_policy_and_retention_decide():
    student, policy = students()["int8"], PolicyConfig(threshold=0.6, filter_blocks=16)
    block = (TRACE.address >> np.uint64(6)).astype(np.int64)
    whole, found = thoughts(student)
    expected = np.full((300, 2), NONE)
    expected[3:] = Policy(bitmap_deltas(16), policy).choose(whole, block[3:])
    assert (expected != NONE).any() and (expected == NONE).any()
    np.testing.assert_array_equal(choose_prefetches(student, TRACE, policy), expected)
    table = RetentionConfig(64, 1)
    kept = decide(found, TRACE, policy, table)
    np.testing.assert_array_equal(kept, retain(expected, block, table))
    assert (kept != expected).any()


def test_storage_counts_constants_and_state():
    all_students, policy = students(), PolicyConfig(filter_blocks=16)
    state = 3 * (42 + 8) + 8 * 32
    integers = all_students["int8"]
    assert storage_bits(integers, policy) == 8 * integers.size_bytes + state
    leaves = jax.tree.leaves(all_students["float"].params)
    parameters = 32 * sum(leaf.size for leaf in leaves)
    vocabulary = 64 * len(integers.pc_vocabulary)
    assert storage_bits(all_students["float"], policy) == parameters + vocabulary + state
    config = AdaptationConfig(every=2)
    learning = Adaptation(integers, config).bits
    whole = storage_bits(AdaptiveStudent(integers, config), policy)
    assert whole == storage_bits(integers, policy) + learning
