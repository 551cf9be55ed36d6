"""A stack's steps however they are called, on meshes, and in bfloat16."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_study

from packd_jax import device_mesh, ensemble
from packd_jax.advance import Runs, make_advance
from packd_jax.batching import RowOrder
from packd_jax.config import ModelConfig
from packd_jax.device_mesh import REPLICA, make_mesh, place, sharding
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.feeding import ResidentRows
from packd_jax.models import InputSpec, build_model
from packd_jax.train_step import init_state

LOADS = small_study.trace(300)
VOCABULARY = learn_pc_vocabulary([LOADS.pc], small_study.FEATURES.pc_vocabulary)
EXAMPLES = encode(LOADS, slice(0, 300), small_study.FEATURES, VOCABULARY)
BATCH, STEPS = 16, 6


def build(family="token_mlp", dtype="float32"):
    spec = InputSpec.of(small_study.FEATURES, dtype=dtype)
    return build_model(ModelConfig(family, width=4), spec)


def advanced(model, execution="scan", steps=STEPS, chunk=STEPS, **axes):
    """The parameters and the summed loss of two runs after so many steps."""
    runs = Runs(np.array([3, 4], np.int32), np.zeros(2, np.int32), np.full(2, 1e-2, np.float32))
    with device_mesh.layout(**axes):
        mesh = make_mesh(2, BATCH)
    sample = {name: jnp.asarray(values[:1]) for name, values in EXAMPLES.inputs.items()}
    by_run = sharding(mesh, REPLICA)
    state, runs_there = place((init_state(model, runs.seed, sample), runs), by_run)
    feed = ResidentRows(EXAMPLES, [RowOrder(range(EXAMPLES.rows), 0)], BATCH, mesh)
    advance = make_advance(model, 1.0, 1.0, "constant", execution, mesh)
    total = np.zeros(2)
    for start in range(0, steps, chunk):
        count = min(chunk, steps - start)
        fed = feed.take(start, count, chunk)
        limits = jnp.float32(100), jnp.float32(0), np.int32(count)
        state, loss = advance(state, runs_there, fed.data, None, fed.places, None, *limits)
        assert loss.is_fully_replicated  # every process can read it
        total += np.asarray(loss)
    assert all(leaf.sharding == by_run for leaf in jax.tree.leaves(state))
    assert state.step.tolist() == [steps, steps]
    return jax.tree.map(np.asarray, state.params), total


ALONE = {"data": 1, "model_replica": 1}


@pytest.fixture(scope="module")
def expected():
    return advanced(build(), **ALONE)


def assert_close(found, expected, rtol=1e-4):
    np.testing.assert_allclose(found[1], expected[1], rtol=rtol)
    for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(expected[0])):
        np.testing.assert_allclose(a, b, rtol=10 * rtol, atol=1e-5)


@pytest.mark.parametrize("execution", ["scan", "epoch", "loop"])
@pytest.mark.parametrize("chunk", [6, 4])
def test_steps_are_the_same_however_they_are_called(expected, execution, chunk):
    assert_close(advanced(build(), execution, chunk=chunk, **ALONE), expected)


@pytest.mark.parametrize("execution", ["scan", "loop"])
@pytest.mark.parametrize("axes", [(2, 1), (1, 2)])
def test_steps_are_the_same_on_a_mesh(expected, execution, axes):
    data, model_replica = axes
    found = advanced(build(), execution, data=data, model_replica=model_replica)
    assert_close(found, expected)


def test_no_step_leaves_everything_as_it_was():
    start, _ = advanced(build(), steps=0, **ALONE)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start, advanced(build(), **ALONE)[0])
    assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("family", ["token_mlp", "lstm", "mixer", "transformer"])
def test_bfloat16_is_for_computing_and_float32_for_keeping(family):
    model = build(family, "bfloat16")
    params, loss = advanced(model, **ALONE)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    _, expected = advanced(build(family), **ALONE)
    assert (loss != expected).any()
    np.testing.assert_allclose(loss, expected, rtol=1e-2)
    sample = {name: values[:BATCH] for name, values in EXAMPLES.inputs.items()}
    one = jax.tree.map(lambda leaf: leaf[0], params)
    program = jax.make_jaxpr(lambda p: ensemble.apply_train(model, p, {}, sample)[0])(one)
    products = re.findall(r"(\w+)\[[\d,]*\] = dot_general", str(program))
    assert products and set(products) == {"bf16"}
    assert program.out_avals[0].dtype == jnp.float32
