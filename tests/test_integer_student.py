import dataclasses

import numpy as np
import pytest
import small_student
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.config import FeatureConfig
from packd_jax.quantize import IntegerStudent, Layer, TokenTable, quantize_student
from packd_jax.quantize.integer_student import packed_kernel, pc_offsets

NONE = np.zeros(0, np.uint16)


def tiny(threshold=0, hidden=None, output=None, values=((1, -2), (3, 4)), bits=8):
    """One kind of token, one hidden unit, two logits."""
    table = TokenTable("delta", 1, np.array(values, np.int8))
    kernel = np.array([[3], [-1]], np.int8)
    multiplier = np.array([40_000], np.uint16)
    hidden = hidden or Layer(kernel, np.array([10], np.int32), 1, multiplier, 16)
    output = output or Layer(np.array([[2, -7]], np.int8), np.array([5, -6], np.int16), 4, NONE, 0)
    vocabulary = np.array([0x400, 0x404], np.uint64)
    return IntegerStudent(
        (table,), (hidden, output), threshold, 0.5, bits, FeatureConfig(), vocabulary
    )


def test_logits_are_those_worked_by_hand():
    # Tokens 0, 1: sums 3 * 1 + 2 + 10 = 15 and 3 * 3 - 4 + 10 = 15;
    # 15 * 40,000 / 65,536 = 9.155, so the hidden unit is 9.
    logits = tiny().logits({"delta": np.array([[0], [1]], np.uint8)})
    assert logits.dtype == np.int32
    assert logits.tolist() == [[2 * 9 + 20, -7 * 9 - 24]] * 2


@pytest.mark.parametrize(
    ("bias", "unit"),
    [(-6, 0), (-5, 0), (-3, 1), (0, 3), (399, 202), (503, 254), (504, 255), (9_999, 255)],
)
def test_hidden_units_round_half_up_and_saturate(bias, unit):
    kernel, multiplier = np.array([[3], [-1]], np.int8), np.array([1 << 15], np.uint16)
    hidden = Layer(kernel, np.array([bias], np.int32), 1, multiplier, 16)  # (5 + bias) / 2
    output = Layer(np.array([[1]], np.int8), np.array([0], np.int16), 1, NONE, 0)
    logits = tiny(hidden=hidden, output=output).logits({"delta": np.zeros(1, np.uint8)})
    assert logits.tolist() == [[unit]]


def by_python(student, inputs, row):
    """Logits of one window in Python's own integers."""
    x = []
    for table in student.tables:
        for token in np.atleast_1d(inputs[table.name][row]):
            x += [int(v) for v in table.values[token]]
    for layer in student.layers:
        sums = [
            int(b) * layer.bias_factor + sum(v * int(w) for v, w in zip(x, column))
            for b, column in zip(layer.bias, layer.kernel.T)
        ]
        if layer.shift:
            half = 1 << (layer.shift - 1)
            x = [
                min((max(s, 0) * int(m) + half) >> layer.shift, 255)
                for s, m in zip(sums, layer.multiplier)
            ]
    return sums


@settings(max_examples=20)
@given(depth=st.integers(1, 3), bits=st.sampled_from([8, 4]), row=st.integers(0, 400))
def test_vectors_of_windows_are_computed_as_one_is(depth, bits, row):
    tables = small_student.TABLES if depth == 2 else {}
    student = small_student.float_student(depth, **tables)
    integers, _ = quantize_student(student, weight_bits=bits)
    inputs = small_student.examples(student).inputs
    assert integers.logits(inputs)[row].tolist() == by_python(integers, inputs, row)


def test_batches_of_windows_follow_each_other(monkeypatch):
    student = small_student.float_student()
    integers, _ = quantize_student(student)
    inputs = small_student.examples(student).inputs
    whole = integers.logits(inputs)
    monkeypatch.setattr("packd_jax.quantize.integer_student.CHUNK", 100)
    parts = list(integers.predict(inputs))
    assert [part.stop - part.start for part, _ in parts[:2]] == [100, 100]
    np.testing.assert_array_equal(np.concatenate([logits for _, logits in parts]), whole)


def test_bytes_count_everything_that_is_stored():
    assert tiny().parts_bytes == {
        "embeddings": 4,
        "weights": 2 + 2,
        "biases": 4 + 1 + 2 * 2 + 1,
        "scales": 2 + 1,
        "threshold": 4,
        "pc_vocabulary": 8 + 2 * 2,
    }
    assert tiny().size_bytes == 37
    packed = Layer(np.array([[2, -7]], np.int8), np.array([5, -6], np.int16), 4, NONE, 0)
    assert tiny(output=packed, bits=4).parts_bytes["weights"] == 2 + 1  # hidden weights have 8 bits
    assert tiny().multiply_adds == 2 + 2 + 1


def test_two_weights_a_byte_are_the_low_and_the_high_half_of_the_outputs():
    kernel = np.array([[-7, 0, 7], [1, 2, 3]], np.int8)
    assert packed_kernel(kernel, 4).tolist() == [[1 | 15 << 4, 8 | 8 << 4], [9 | 11 << 4, 10 | 128]]
    assert packed_kernel(kernel, 8) is kernel


@pytest.mark.parametrize(
    ("last", "dtype"), [(0x400 + 65_535, np.uint16), (0x400 + 65_536, np.uint32), (1 << 40, None)]
)
def test_pcs_are_kept_as_narrow_as_they_lie_close(last, dtype):
    vocabulary = np.array([0x400, 0x404, last], np.uint64)
    base, offsets = pc_offsets(vocabulary)
    assert offsets.dtype == (dtype or np.uint64)
    np.testing.assert_array_equal(base + offsets.astype(np.uint64), vocabulary)
    assert len(pc_offsets(vocabulary[:0])[1]) == 0


def test_the_digest_is_that_of_all_values():
    digests = {
        tiny().digest,
        tiny(threshold=1).digest,
        tiny(values=((1, -2), (3, 5))).digest,
        dataclasses.replace(tiny(), logit_scale=0.25).digest,
        dataclasses.replace(tiny(), features=FeatureConfig(look_back=9)).digest,
        dataclasses.replace(tiny(), pc_vocabulary=np.array([0x400], np.uint64)).digest,
    }
    assert len(digests) == 6 and tiny().digest in digests


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (Layer(np.ones((3, 1), np.int8), np.zeros(1, np.int32), 1, NONE + 1, 1), "2 inputs"),
        (Layer(np.ones((2, 1), np.int8), np.zeros(2, np.int32), 1, NONE, 1), "a bias for each"),
        (Layer(np.ones((2, 1), np.int8), np.zeros(1, np.int32), 1, NONE, 1), "multiplier"),
        (
            Layer(np.ones((2, 1), np.int8), np.zeros(1, np.int32), 1, np.ones(1, np.uint16), 48),
            "shift 48; expected 1 to 47",
        ),
        (
            Layer(
                np.ones((2, 1), np.int8),
                np.full(1, 2**31 - 2 * 127, np.int32),
                1,
                np.ones(1, np.uint16),
                1,
            ),
            "leave 32 bits",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(layer, problem):
    with pytest.raises(ValueError, match=problem):
        tiny(hidden=layer)


def test_weights_beyond_four_bits_are_refused():
    output = Layer(np.array([[8, 1]], np.int8), np.zeros(2, np.int16), 1, NONE, 0)
    with pytest.raises(ValueError, match="layer 1: weights beyond 4 bits"):
        tiny(output=output, bits=4)
