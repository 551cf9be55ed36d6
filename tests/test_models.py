"""Every family on both encodings: sizes, gradients, jit and vmap, what each input does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax.config import MODEL_FAMILIES, FeatureConfig, ModelConfig
from packd_jax.models import (
    MEANT_MODELS,
    PAPER_MODELS,
    InputSpec,
    build_model,
    parameter_bytes,
    parameter_count,
)

SMALL = {
    "lstm_flat": ModelConfig("lstm_flat", width=5),
    "mixer_flat": ModelConfig("mixer_flat", width=6),
    "resnet": ModelConfig("resnet", width=3, depth=2),
    "lstm": ModelConfig("lstm", width=5),
    "mixer": ModelConfig("mixer", width=6),
    "transformer": ModelConfig("transformer", width=8, heads=2),
    "token_mlp": ModelConfig("token_mlp", width=12, depth=2),
}
SPECS = {
    encoding: InputSpec(
        encoding, look_back=6, label_bits=24, delta_vocabulary=11, pc_tokens=7, clusters=3
    )
    for encoding in ("segments", "tokens")
}
SEGMENTS = InputSpec("segments")  # what the named models are for
every_family = pytest.mark.parametrize("family", MODEL_FAMILIES)
both_encodings = pytest.mark.parametrize("encoding", ["segments", "tokens"])


def random_inputs(spec, rows, seed=0):
    rng = np.random.default_rng(seed)
    count = {"segments": 64, "offset": 64, "delta": spec.delta_vocabulary, "pc": spec.pc_tokens}
    count["cluster"] = max(spec.clusters, 1)
    return {
        name: jnp.asarray(rng.integers(0, count[name], shape, dtype=np.uint8))
        for name, shape in spec.shapes(rows).items()
    }


def shapes_of(model, spec):
    return jax.eval_shape(lambda key: model.init(key, spec.zeros(), train=False), jax.random.key(0))


def random_variables(model, spec, seed=0):
    """Values for every variable, biases too; drawn here, for `init` takes long to compile."""
    rng = np.random.default_rng(seed)
    shapes = shapes_of(model, spec)
    params = jax.tree.map(
        lambda leaf: jnp.float32(rng.normal(0, 0.5, leaf.shape)), shapes["params"]
    )
    stats = jax.tree.map(
        lambda leaf: jnp.float32(rng.gamma(2, 1, leaf.shape)), shapes.get("batch_stats", {})
    )
    return {"params": params, "batch_stats": stats} if stats else {"params": params}


@functools.cache
def network(family, encoding):
    """A model, its variables, inputs, and jitted `(variables, inputs) -> logits, gradients`.

    One compiled function serves every test: compilation is most of what they cost.
    """
    spec = SPECS[encoding]
    model = build_model(SMALL[family], spec)
    targets = jax.random.normal(jax.random.key(1), (16, 24))

    def loss(params, variables, inputs):
        logits = model.apply({**variables, "params": params}, inputs, train=False)
        return jnp.mean((logits - targets) ** 2), logits

    @jax.jit
    def run(variables, inputs):
        gradients, logits = jax.grad(loss, has_aux=True)(variables["params"], variables, inputs)
        return logits, gradients

    return model, random_variables(model, spec), random_inputs(spec, 16), run


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # PyTorch's second bias of every gate is left out: 4 * width a layer.
        ("lstm_teacher", 5_302_528 - 40 * 4 * 128),
        ("lstm_student", 11_904 - 4 * 16),
        ("mixer_teacher", 5_483_524),
        ("mixer_student", 10_206),
        ("resnet_teacher", 5_422_786),
        ("resnet_student", 9_324),
    ],
)
def test_paper_models_have_the_authors_parameter_counts(name, count):
    variables = shapes_of(build_model(PAPER_MODELS[name], SEGMENTS), SEGMENTS)
    assert parameter_count(variables["params"]) == count
    assert parameter_bytes(variables["params"]) == 4 * count
    assert ("batch_stats" in variables) == name.startswith("resnet")


@pytest.mark.parametrize("name", MEANT_MODELS)
def test_meant_models_are_about_as_large(name):
    count = parameter_count(
        shapes_of(build_model(MEANT_MODELS[name], SEGMENTS), SEGMENTS)["params"]
    )
    low, high = (5.2e6, 5.7e6) if name.endswith("teacher") else (9_500, 10_500)
    assert low <= count <= high


def test_default_model_counts_by_hand():
    spec = InputSpec.of(FeatureConfig())
    tables = spec.delta_vocabulary * 2 + spec.pc_tokens * 1 + 64 * 2
    layers = (10 * (2 + 1) + 2 + 1) * 4 + (4 + 1) * 256
    assert (
        parameter_count(shapes_of(build_model(ModelConfig(), spec), spec)["params"])
        == tables + layers
    )
    # A cluster as an input costs one vector of the first hidden layer each.
    spec = InputSpec.of(FeatureConfig(), clusters=3)
    clustered = shapes_of(build_model(ModelConfig(), spec), spec)
    assert parameter_count(clustered["params"]) == tables + layers + 3 * 4


@every_family
@both_encodings
def test_every_parameter_gets_a_finite_gradient(family, encoding):
    _, variables, inputs, run = network(family, encoding)
    logits, gradients = run(variables, inputs)
    assert logits.shape == (16, 24) and logits.dtype == jnp.float32
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        gradient = np.asarray(gradient)
        assert np.isfinite(gradient).all(), name
        if family == "lstm_flat" and name.endswith("recurrent"):
            assert (gradient == 0).all(), name  # one time step from a zero state
        elif not name.endswith("key/bias"):  # softmax does not see a shift of all keys
            assert (gradient != 0).any(), name


@every_family
def test_stacked_models_in_training_equal_separate_ones(family):
    model, variables, inputs, _ = network(family, "tokens")
    other = random_variables(model, SPECS["tokens"], seed=1)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), variables, other)

    def step(variables):
        return model.apply(variables, inputs, train=True, mutable=["batch_stats"])

    together = jax.jit(jax.vmap(step))(stacked)
    assert not np.allclose(together[0][0], together[0][1])
    alone = jax.jit(step)
    for i, separate in enumerate((variables, other)):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5),
            together,
            alone(separate),
        )


@both_encodings
def test_jit_equals_eager(encoding):
    model, variables, inputs, run = network("token_mlp", encoding)
    eager = model.apply(variables, inputs, train=False)
    np.testing.assert_allclose(run(variables, inputs)[0], eager, rtol=1e-5, atol=1e-6)


@every_family
@both_encodings
def test_the_cluster_is_an_input(family, encoding):
    _, variables, inputs, run = network(family, encoding)

    def logits(cluster):
        clusters = jnp.asarray(cluster, jnp.uint8)
        return np.asarray(run(variables, inputs | {"cluster": clusters})[0])

    zero, one, mixed = logits([0] * 16), logits([1] * 16), logits([0, 1] * 8)
    assert (np.abs(zero - one).max(axis=1) > 1e-4).all()
    np.testing.assert_allclose(mixed[::2], zero[::2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed[1::2], one[1::2], rtol=1e-5, atol=1e-6)


@every_family
def test_rows_do_not_see_each_other_in_evaluation(family):
    _, variables, inputs, run = network(family, "tokens")
    other = random_inputs(SPECS["tokens"], 16, seed=1)
    mixed = {name: inputs[name].at[8:].set(other[name][8:]) for name in inputs}
    whole, half = np.asarray(run(variables, inputs)[0]), np.asarray(run(variables, mixed)[0])
    np.testing.assert_allclose(whole[:8], half[:8], rtol=1e-5, atol=1e-6)
    assert (np.abs(whole[8:] - half[8:]).max(axis=1) > 1e-4).all()


def test_initialisation_stacks():
    spec = SPECS["tokens"]
    model = build_model(SMALL["resnet"], spec)
    init = jax.jit(jax.vmap(lambda key: model.init(key, spec.zeros(), train=False)))
    variables = init(jax.random.split(jax.random.key(0), 2))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert leaf.dtype == jnp.float32, name
        if name.endswith(("kernel", "embedding")):
            assert (leaf[0] != leaf[1]).all(), name
        else:
            assert (leaf == float(name.endswith(("scale", "var")))).all(), name


def test_segments_reach_the_model_divided_by_64():
    spec = InputSpec("segments", look_back=3, label_bits=8)
    model = build_model(ModelConfig(width=4), spec)
    inputs = random_inputs(spec, 5)
    variables = random_variables(model, spec)
    hidden, output = (variables["params"][name] for name in ("hidden_0", "output"))
    x = np.asarray(inputs["segments"]).reshape(5, 30) / np.float32(64)
    x = np.maximum(x @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"]), 0)
    expected = x @ np.asarray(output["kernel"]) + np.asarray(output["bias"])
    logits = model.apply(variables, inputs, train=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_a_token_outside_of_its_vocabulary_is_not_a_number():
    _, variables, inputs, run = network("token_mlp", "tokens")
    beyond = inputs | {"delta": inputs["delta"].at[3, 2].set(11)}
    finite = np.isfinite(run(variables, beyond)[0]).all(axis=1)
    np.testing.assert_array_equal(finite, np.arange(16) != 3)
