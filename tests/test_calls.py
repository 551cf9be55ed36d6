"""Calls of linen modules as module kinds."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from latency_jax.whole_model.calls import KindValues, call_kind, register_call
from latency_jax.whole_model.capture import capture


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
    ("shape", "batch_size", "positions", "features"),
    [
        ((8,), 1, 1, 8),
        ((4, 8), 4, 1, 8),
        ((2, 3, 5, 8), 2, 15, 8),
        ((0, 3, 8), 1, 0, 8),
    ],
)
@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.BatchNorm(use_running_average=True), "batch_norm"),
        (nn.LayerNorm(), "layer_norm"),
        (nn.RMSNorm(), "layer_norm"),
        (nn.GroupNorm(2), "layer_norm"),
        (nn.InstanceNorm(), "layer_norm"),
    ],
)
def test_norms_have_the_rows_of_their_output(layer, kind, shape, batch_size, positions, features):
    x = array(*shape, dtype=jnp.bfloat16)
    sizes = {"batch_size": batch_size, "positions": positions, "features": features}
    assert call_kind(layer, [x], x) == (kind, {**sizes, "dtype": "bfloat16"})


@pytest.mark.parametrize(
    ("shape", "batch_size", "tokens"),
    [((), 1, 1), ((7,), 7, 1), ((3, 7), 3, 7), ((3, 2, 7), 3, 14)],
)
def test_embeddings(shape, batch_size, tokens):
    found = call_kind(nn.Embed(50, 6), [array(*shape, dtype=jnp.int32)], array(*shape, 6))
    sizes = {"batch_size": batch_size, "tokens": tokens, "vocabulary": 50, "features": 6}
    assert found == ("embedding", {**sizes, "dtype": "float32"})


QUERY = array(3, 5, 8)
MASK, KEY = array(3, 1, 5, 5, dtype=jnp.bool_), array(2, dtype=jnp.uint32)


@pytest.mark.parametrize("inputs", [[QUERY], [QUERY] * 3, [QUERY, MASK], [QUERY, QUERY, KEY]])
@pytest.mark.parametrize(
    "layer",
    [
        nn.MultiHeadDotProductAttention(2),
        nn.MultiHeadDotProductAttention(2, qkv_features=8, out_features=8),
        nn.SelfAttention(2),
    ],
)
def test_self_attention(layer, inputs):
    sizes = {"batch_size": 3, "tokens": 5, "features": 8, "heads": 2}
    found = call_kind(layer, inputs, QUERY)
    assert found == ("multi_head_attention", {**sizes, "dtype": "float32"})


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.MultiHeadDotProductAttention(2, qkv_features=16), [QUERY]),
        (nn.MultiHeadDotProductAttention(2, out_features=4), [QUERY]),
        (nn.MultiHeadDotProductAttention(2), [QUERY, array(3, 9, 8)]),  # of another sequence
        (nn.MultiHeadDotProductAttention(2), [array(3, 4, 5, 8)]),  # along one of two axes
        (nn.RNN(nn.GRUCell(6)), [QUERY]),
        (nn.RNN(nn.LSTMCell(6), time_major=True), [QUERY]),
        (nn.RNN(nn.LSTMCell(6)), [array(3, 2, 5, 8)]),
        (nn.Dense(6), [QUERY]),
        (nn.Sequential([nn.LayerNorm()]), [QUERY]),
    ],
)
def test_other_calls_are_looked_into(layer, inputs):
    assert call_kind(layer, inputs, QUERY) is None


@pytest.mark.parametrize("cell", [nn.LSTMCell(6), nn.OptimizedLSTMCell(6)])
def test_recurrent_layers_over_a_sequence(cell):
    carry = array(3, 6)
    sizes = {"batch_size": 3, "tokens": 5, "in_features": 8, "features": 6, "dtype": "float32"}
    for layer in (nn.RNN(cell), nn.RNN(cell, reverse=True, return_carry=True)):
        found = call_kind(layer, [QUERY, carry, carry], ((carry, carry), array(3, 5, 6)))
        assert found == ("lstm", sizes)


def test_the_nearest_class_and_the_latest_registration_count():
    class Norm(nn.LayerNorm):
        pass

    class Near(Norm):
        pass

    x = array(2, 3, 8)
    as_norm, as_sum = call_kind(nn.LayerNorm(), [x], x), KindValues("add", {"features": 8})
    assert call_kind(Near(), [x], x) == as_norm
    register_call(Norm, lambda module, inputs, output: as_sum)
    assert call_kind(Near(), [x], x) == as_sum
    assert call_kind(nn.LayerNorm(), [x], x) == as_norm
    register_call(Norm, lambda module, inputs, output: None)
    assert call_kind(Near(), [x], x) is None  # and not what it is derived from


@pytest.mark.parametrize(
    "layer",
    [
        nn.Einsum((8, 6), "bte,ef->btf", use_bias=True),
        nn.DenseGeneral(6),
        nn.remat(nn.Dense)(6),
        nn.jit(nn.Dense)(6),
    ],
)
def test_a_product_by_any_name_is_a_dense_layer(layer):
    class Model(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x):
            return self.inner(x)

    (op,) = [op for op in capture(Model(layer), [QUERY]).ops if op.kind != "free"]
    sizes = {"batch_size": 3, "positions": 5, "in_features": 8, "out_features": 6}
    assert (op.kind, op.values) == ("dense", {**sizes, "use_bias": True, "dtype": "float32"})
