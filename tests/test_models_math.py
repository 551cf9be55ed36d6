"""The networks against their formulas, written out once more in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax.config import ModelConfig
from packd_jax.models import InputSpec, build_model
from packd_jax.models.layers import convolve, fan_in_normal, gelu

SPEC = InputSpec("segments", look_back=4, label_bits=8)


def network(config, along_batch=False):
    """A model, variables (drawn here, biases too), and a batch of six windows."""
    model = build_model(config, SPEC, along_batch)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: model.init(key, SPEC.zeros(), train=False), jax.random.key(0)
    )
    params = jax.tree.map(
        lambda leaf: jnp.float32(rng.normal(0, 0.5, leaf.shape)), shapes.pop("params")
    )
    stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    inputs = {"segments": jnp.asarray(rng.integers(0, 64, (6, 4, 10), dtype=np.uint8))}
    return model, {"params": params, **stats}, inputs


def evaluate(model, variables, inputs):
    return jax.jit(lambda variables: model.apply(variables, inputs, train=False))(variables)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, layer):
    """x [T, B, F] -> [T, B, width], one time step and one gate after the other."""
    kernel, recurrent, bias = (np.asarray(layer[k]) for k in ("kernel", "recurrent", "bias"))
    width = len(recurrent)
    hidden, cell, states = np.zeros((x.shape[1], width)), np.zeros((x.shape[1], width)), []
    for step in x:
        z = step @ kernel + hidden @ recurrent + bias
        forget, enter, new, leave = (z[:, i * width : (i + 1) * width] for i in range(4))
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states)


@pytest.mark.parametrize("case", ["lstm", "lstm_flat", "lstm_flat along the batch"])
def test_lstm_is_the_lstm_of_the_textbook(case):
    config = ModelConfig(case.split()[0], width=3, depth=2)
    model, variables, inputs = network(config, along_batch=case.endswith("batch"))
    params = variables["params"]
    windows = np.asarray(inputs["segments"]) / 64.0  # [B, L, 10]
    x = {
        "lstm": windows.swapaxes(0, 1),
        "lstm_flat": windows.reshape(1, 6, 40),
        "lstm_flat along the batch": windows.reshape(6, 1, 40),
    }[case]
    for layer in ("layer_0", "layer_1"):
        x = numpy_lstm(x, params[layer])
    last = x.reshape(6, 3) if case.startswith("lstm_flat") else x[-1]
    expected = last @ np.asarray(params["output"]["kernel"]) + np.asarray(params["output"]["bias"])
    logits = evaluate(model, variables, inputs)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def numpy_gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def numpy_layer_norm(x, params):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * np.asarray(params["scale"]) + np.asarray(params["bias"])


@pytest.mark.parametrize("family", ["mixer_flat", "mixer"])
def test_mixer_mixes_tokens_then_channels(family):
    model, variables, inputs = network(ModelConfig(family, width=6, depth=2))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    windows = np.asarray(inputs["segments"]) / 64.0
    tokens = windows.reshape(6, 1, 40) if family == "mixer_flat" else windows
    expected = []
    for x in tokens:  # one window: [T, F]
        x = dense(x, params["embed"])
        for block in (params["block_0"], params["block_1"]):
            assert block["token_in"]["kernel"].shape == (len(x), 4 if len(x) == 1 else 2 * len(x))
            y = numpy_layer_norm(x, block["token_norm"]).T  # [C, T]
            x = x + dense(numpy_gelu(dense(y, block["token_in"])), block["token_out"]).T
            y = numpy_layer_norm(x, block["channel_norm"])
            x = x + dense(numpy_gelu(dense(y, block["channel_in"])), block["channel_out"])
        expected.append(dense(numpy_layer_norm(x, params["norm"]).mean(0), params["output"]))
    logits = evaluate(model, variables, inputs)
    np.testing.assert_allclose(logits, np.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)])
def test_convolve_is_xlas_convolution(size, stride):
    keys = jax.random.split(jax.random.key(size), 2)
    x = jax.random.normal(keys[0], (2, 10, 7, 3))
    kernel = jax.random.normal(keys[1], (size, size, 3, 4))

    def xla(x, kernel):
        pads = [(size // 2, size // 2)] * 2
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=layout
        )

    def both_directions(convolution):
        def run(x, kernel):
            result, backward = jax.vjp(convolution, x, kernel)
            return result, *backward(jnp.sin(result))

        return jax.jit(run)(x, kernel)

    ours = both_directions(lambda x, kernel: convolve(x, kernel, stride))
    for mine, theirs in zip(ours, both_directions(xla)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_resnet_reads_batch_statistics_in_training_and_running_ones_in_evaluation():
    model, variables, inputs = network(ModelConfig("resnet", width=3, depth=2))
    train = jax.jit(lambda v: model.apply(v, inputs, train=True, mutable=["batch_stats"]))
    trained, new = train(variables)
    image = inputs["segments"].astype(jnp.float32)[..., None] / 64
    stem = np.asarray(convolve(image, variables["params"]["stem"]["kernel"]))
    norm = new["batch_stats"]["stem_norm"]
    np.testing.assert_allclose(norm["mean"], 0.9 + 0.1 * stem.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm["var"], 0.9 + 0.1 * stem.var((0, 1, 2)), rtol=1e-4)

    look = jax.jit(lambda v: model.apply(v, inputs, train=False, mutable=["batch_stats"]))
    evaluated, kept = look(variables)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])
    assert not np.allclose(trained, evaluated)
    updated, _ = look(variables | new)
    assert not np.allclose(updated, evaluated)


def test_bottleneck_halves_the_image_at_three_stages():
    config = ModelConfig("resnet", width=2, block="bottleneck")
    model = build_model(config, SPEC)

    def stages(inputs):
        variables = model.init(jax.random.key(0), inputs, train=False)
        _, state = model.apply(
            variables, inputs, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return state["intermediates"]

    seen = jax.eval_shape(stages, SPEC.zeros(2))
    shapes = [seen[f"stage_{s}_block_{b}"]["__call__"][0].shape for s, b in enumerate((2, 3, 5, 2))]
    assert shapes == [(2, 4, 10, 8), (2, 2, 5, 16), (2, 1, 3, 32), (2, 1, 2, 64)]


def test_transformer_reads_the_order_of_accesses():
    model, variables, inputs = network(ModelConfig("transformer", width=8, depth=1, heads=2))
    swapped = {"segments": inputs["segments"][:, jnp.array([1, 0, 2, 3])]}
    ordered = evaluate(model, variables, inputs)
    assert not np.allclose(ordered, evaluate(model, variables, swapped), atol=1e-4)
    still = variables["params"] | {"positions": jnp.zeros((4, 8))}
    np.testing.assert_allclose(
        evaluate(model, {"params": still}, inputs),
        evaluate(model, {"params": still}, swapped),
        rtol=1e-4,
        atol=1e-5,
    )


def test_gelu_is_exact():
    x = jnp.linspace(-6, 6, 101)
    np.testing.assert_allclose(gelu(x), numpy_gelu(np.asarray(x)), rtol=1e-5, atol=2e-6)


def test_kernels_start_with_the_variance_of_their_fan_in():
    kernel = fan_in_normal(jax.random.key(0), (3, 3, 50, 200))
    np.testing.assert_allclose([kernel.mean(), kernel.var() * 450], [0, 1], atol=0.02)
