import numpy as np
import pytest
import small_student

from packd_jax.quantize.post_training import (
    CLIPS,
    bounds,
    calibrate,
    choose_scales,
    fixed_point,
    quantize_network,
    weight_scales,
)
from packd_jax.quantize.token_network import embed, token_network, token_steps


def network_of(student):
    return token_network(student.params, student.model, student.inputs)


def hidden_units(network, inputs):
    x, units = embed(network, inputs), []
    for kernel, bias in zip(network.kernels[:-1], network.biases[:-1]):
        x = np.maximum(x @ kernel + bias[None], 0)
        units.append(x)
    return units


def quantized(student, network, inputs, bits, equalize=16.0):
    steps = token_steps(student.inputs)
    scales = choose_scales(network, calibrate(network, inputs), steps, bits, equalize)
    threshold, features = student.threshold, student.features
    return quantize_network(
        network, scales, steps, threshold, bits, features, student.pc_vocabulary
    )


@pytest.mark.parametrize("depth", [1, 3])
def test_ranges_are_what_the_rows_reach_and_bounds_what_any_row_can(depth):
    student = small_student.float_student(depth)
    network, inputs = network_of(student), small_student.examples(student).inputs
    seen = calibrate(network, inputs)
    most = bounds(network, token_steps(student.inputs))
    rng = np.random.default_rng(0)
    anything = {
        name: rng.integers(0, len(network.tables[name]), (3000, *values.shape[1:]))
        for name, values in inputs.items()
    }
    any_units = hidden_units(network, anything)
    for layer, units in enumerate(hidden_units(network, inputs)):
        np.testing.assert_allclose(seen.hidden[layer], units.max(axis=0))
        assert (any_units[layer] <= most.hidden[layer] + 1e-9).all()
    for name, table in network.tables.items():
        np.testing.assert_array_equal(most.tables[name], np.abs(table).max(axis=0))
        assert (seen.tables[name] <= most.tables[name]).all()


def test_the_worst_case_of_the_first_layer_is_reached():
    student = small_student.float_student()
    network = network_of(student)
    kernel, start, worst = network.kernels[0][:, 0], 0, {}
    for name in network.tables:
        steps = token_steps(student.inputs)[name]
        width, tokens = network.tables[name].shape[1], []
        for _ in range(steps):
            tokens.append((network.tables[name] @ kernel[start : start + width]).argmax())
            start += width
        worst[name] = np.array([tokens if steps > 1 else tokens[0]], np.uint8)
    unit = hidden_units(network, worst)[0][0, 0]
    assert unit == pytest.approx(bounds(network, token_steps(student.inputs)).hidden[0][0])


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.03), (4, 0.4)])
@pytest.mark.parametrize("depth", [1, 2])
def test_integers_are_near_the_floats(bits, depth, tolerance):
    student = small_student.float_student(depth, width=8)
    network, inputs = network_of(student), small_student.examples(student).inputs
    integers = quantized(student, network, inputs, bits)
    logits = small_student.float_logits(student, inputs)
    error = integers.logits(inputs) * integers.logit_scale - logits
    assert np.abs(error).mean() < tolerance * logits.std()
    edge = integers.threshold * integers.logit_scale
    assert student.threshold <= edge < student.threshold + integers.logit_scale


def test_scales_let_a_lone_large_weight_saturate_only_where_that_errs_less():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(400, 1))
    heavy = plain.copy()
    heavy[0] = 6.0
    kernel = np.concatenate([plain, heavy], axis=1)
    for bits in (8, 4):
        limit = 2 ** (bits - 1) - 1
        scale = weight_scales(kernel, bits, CLIPS)
        errors = {}
        for name, tried in (("chosen", scale), ("largest", np.abs(kernel).max(axis=0) / limit)):
            rounded = np.clip(np.rint(kernel / tried[None]), -limit, limit) * tried[None]
            errors[name] = ((rounded - kernel) ** 2).sum(axis=0)
        assert (errors["chosen"] <= errors["largest"]).all()
        if bits == 4:
            assert (errors["chosen"] < 0.7 * errors["largest"]).all()
    np.testing.assert_allclose(
        weight_scales(kernel, 8, np.ones(1)), np.abs(kernel).max(axis=0) / 127
    )


@pytest.mark.parametrize("ratio", [[1e-6, 1e-3, 3e-3], [0.9], [2.0**14, 1.0], [1e-12, 1e-12]])
def test_ratios_become_multipliers_of_sixteen_bits(ratio):
    multiplier, shift = fixed_point(np.array(ratio))
    assert multiplier.dtype == np.uint16 and 1 <= shift <= 47
    error = np.abs(multiplier / 2.0**shift - ratio)
    assert (error <= max(max(ratio) / 65_536, 2.0**-48) * 1.01).all()


def test_units_and_columns_that_are_never_used_do_no_harm():
    student = small_student.float_student(width=4)
    network, inputs = network_of(student), small_student.examples(student).inputs
    network.kernels[0][:, 1] = 0
    network.biases[0][1] = -3.0
    network.tables["pc"][:] = 0
    integers = quantized(student, network, inputs, 8)
    logits = hidden_units(network, inputs)[-1] @ network.kernels[-1] + network.biases[-1][None]
    error = integers.logits(inputs) * integers.logit_scale - logits
    assert np.abs(error).max() < 0.1 * logits.std()


def test_inputs_with_small_weights_get_coarser_steps():
    student = small_student.float_student(width=4)
    network, inputs = network_of(student), small_student.examples(student).inputs
    network.kernels[1][2] *= 0.05
    steps, ranges = token_steps(student.inputs), calibrate(network, inputs)
    largest, error = {}, {}
    for most in (1.0, 4.0, 16.0):
        scales = choose_scales(network, ranges, steps, 4, most)
        kernel = quantized(student, network, inputs, 4, most).layers[1].kernel[2]
        largest[most] = np.abs(kernel).max()
        real = kernel * scales.kernels[1] / scales.hidden[0][2]
        error[most] = np.square(real - network.kernels[1][2]).mean()
    assert largest[1.0] < largest[4.0] < largest[16.0]
    assert error[1.0] > error[4.0] > error[16.0]
