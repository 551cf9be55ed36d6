"""Stacks of networks do what each network alone does: init, predict, route."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax import ensemble
from packd_jax.config import FeatureConfig, ModelConfig
from packd_jax.models import InputSpec, build_model

SEEDS = np.array([3, 4, 9], np.int32)
FEATURES = {
    "token_mlp": FeatureConfig(
        look_back=4,
        delta_bound=8,
        delta_exact=4,
        delta_log_buckets=3,
        pc_vocabulary=4,
        pc_hash_buckets=2,
    ),
    "resnet": FeatureConfig(encoding="segments", look_back=4, delta_bound=8),
}


def draw(spec, rows, seed=0):
    """Random inputs of a spec."""
    rng = np.random.default_rng(seed)
    limits = {"delta": spec.delta_vocabulary, "pc": spec.pc_tokens, "offset": 64, "segments": 64}
    return {
        name: rng.integers(0, limits[name], shape, dtype=np.uint8)
        for name, shape in spec.shapes(rows).items()
    }


def build(family):
    spec = InputSpec.of(FEATURES[family])
    model = build_model(ModelConfig(family, width=4), spec)
    variables = ensemble.init(model, SEEDS, draw(spec, 1))
    if variables["batch_stats"]:  # fresh ones are 0 and 1, which hides mistakes
        variables["batch_stats"] = jax.tree.map(
            lambda leaf: leaf + jnp.linspace(0.1, 0.9, leaf.size).reshape(leaf.shape),
            variables["batch_stats"],
        )
    return model, spec, variables


@pytest.fixture(scope="module")
def stack():
    """A model, the spec of its inputs, and the variables of three networks."""
    return build("token_mlp")


@pytest.fixture(scope="module")
def normed():
    """The same of a network with BatchNorm."""
    return build("resnet")


def network(variables, k):
    return jax.tree.map(lambda leaf: leaf[k], variables)


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def apply_alone(model, variables, inputs, train=False):
    """Logits of one network, without the code under test."""
    if not train:
        return model.apply(variables, inputs, train=False)
    return model.apply(variables, inputs, train=True, mutable=["batch_stats"])[0]


def assert_trees_close(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, **tolerance)


def test_a_stack_is_initialised_as_its_networks_are(stack):
    model, spec, variables = stack
    assert variables["batch_stats"] == {}
    init = jax.jit(lambda key: model.init(key, spec.zeros(), train=False))
    for k, seed in enumerate(SEEDS):
        alone = init(jax.random.key(int(seed)))
        assert_trees_close(network(variables["params"], k), alone["params"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [1, 13, ensemble.BATCH + 5])
def test_predict_answers_every_row_once_whatever_their_number(stack, rows):
    model, spec, variables = stack
    inputs = draw(spec, rows)
    parts = list(ensemble.predict(model, variables, inputs))
    covered = [row for part, _ in parts for row in range(part.start, part.stop)]
    assert covered == list(range(rows))
    logits = np.concatenate([values for _, values in parts], axis=1)
    assert logits.shape == (3, rows, spec.label_bits) and logits.dtype == np.float32
    some = np.array([0, rows // 2, max(rows - 2, 0), rows - 1])
    picked = {name: values[some] for name, values in inputs.items()}
    for k in range(3):
        alone = apply_alone(model, network(variables, k), picked)
        np.testing.assert_allclose(logits[k, some], alone, rtol=1e-4, atol=1e-5)


def test_no_rows_have_no_predictions(stack):
    model, spec, variables = stack
    assert list(ensemble.predict(model, variables, draw(spec, 0))) == []


def test_route_asks_the_teacher_of_each_rows_own_cluster(stack):
    model, spec, variables = stack
    inputs = draw(spec, 29, seed=1)
    cluster = np.random.default_rng(0).choice(np.array([0, 2], np.uint8), 29)  # nobody asks 1
    logits = ensemble.route(model, variables, inputs, cluster)
    assert logits.shape == (29, spec.label_bits) and logits.dtype == np.float32
    every = ensemble.make_apply(model)(variables, inputs)
    np.testing.assert_allclose(logits, every[cluster, np.arange(29)], rtol=1e-4, atol=1e-5)
    assert np.abs(logits - every[0]).max() > 0.01  # the teachers do differ


def test_route_without_rows_is_refused(stack):
    model, spec, variables = stack
    with pytest.raises(ValueError, match="no rows to route"):
        ensemble.route(model, variables, draw(spec, 0), np.zeros(0, np.uint8))


def test_training_mode_uses_the_statistics_of_the_batch_and_of_nothing_else(normed, monkeypatch):
    model, spec, variables = normed
    monkeypatch.setattr(ensemble, "BATCH", 11)
    inputs = draw(spec, 15, seed=2)
    parts = list(ensemble.predict(model, variables, inputs, train_mode=True))
    assert [part for part, _ in parts] == [slice(0, 11), slice(11, 15)]
    for k in range(3):
        one = network(variables, k)
        # The last batch is full, too: its statistics are those of the last eleven rows.
        for (part, logits), batch in zip(parts, (slice(0, 11), slice(4, 15))):
            seen = {name: values[batch] for name, values in inputs.items()}
            alone = apply_alone(model, one, seen, train=True)[part.start - part.stop :]
            np.testing.assert_allclose(logits[k], alone, rtol=1e-3, atol=1e-4)
    _, running = next(ensemble.predict(model, variables, inputs))
    assert np.abs(running - parts[0][1]).max() > 0.01


def test_training_mode_counts_no_row_of_a_small_batch_twice(normed):
    model, spec, variables = normed
    inputs = draw(spec, 11, seed=2)  # no power of two
    ((_, logits),) = ensemble.predict(model, variables, inputs, train_mode=True)
    for k in range(3):
        alone = apply_alone(model, network(variables, k), inputs, train=True)
        np.testing.assert_allclose(logits[k], alone, rtol=1e-3, atol=1e-4)


def test_apply_train_returns_new_statistics_and_keeps_the_old(normed):
    model, spec, variables = normed
    one, inputs = network(variables, 0), draw(spec, 8)
    before = jax.tree.map(np.array, one["batch_stats"])
    advance = jax.jit(functools.partial(ensemble.apply_train, model))
    _, after = advance(one["params"], one["batch_stats"], inputs)
    assert_trees_close(one["batch_stats"], before, rtol=0)
    moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before))]
    assert all(m > 1e-4 for m in moved) and len(moved) == len(jax.tree.leaves(before))


def test_predict_uses_the_running_statistics_of_each_network(normed):
    model, spec, variables = normed
    inputs = draw(spec, 11, seed=3)
    ((_, logits),) = ensemble.predict(model, variables, inputs)
    for k in range(3):
        alone = apply_alone(model, network(variables, k), inputs)
        np.testing.assert_allclose(logits[k], alone, rtol=1e-3, atol=1e-4)
