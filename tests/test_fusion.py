"""Operations as XLA fuses them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from latency_jax.modules import get_kind
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.fusion import fused_calls


class Of(nn.Module):
    """A function of inputs that calls layers, each named by its position."""

    function: object

    @nn.compact
    def __call__(self, *inputs):
        return self.function(*inputs)


def calls_of(function, *shapes, known=None):
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return fused_calls(capture(Of(function), inputs), known)


def norm(x):
    return nn.BatchNorm(use_running_average=True)(x)


IMAGE = (1, 8, 8, 4)


def test_a_convolution_its_norm_and_its_activation_are_one_call():
    (call,) = calls_of(lambda x: nn.relu6(norm(nn.Conv(4, (3, 3), use_bias=False)(x))), IMAGE)
    assert call.kind == "conv_bn_relu" and call.values["activation"] == "relu6"
    assert call.name == "Conv_0+BatchNorm+relu6"
    assert call.fused_bytes == 0 and call.runs == 1
    assert call.flops == get_kind("conv_bn_relu").cost(call.values).flops
    get_kind("conv_bn_relu").build(call.values)


def test_a_depthwise_one_too_and_without_an_activation():
    (call,) = calls_of(lambda x: norm(nn.Conv(4, (3, 3), feature_group_count=4)(x)), IMAGE)
    assert call.kind == "depthwise_conv_bn_relu" and "activation" not in call.values
    get_kind(call.kind).build(call.values | {"activation": "none"})


def test_a_norm_of_what_others_read_as_well_stays_alone():
    def function(x):
        y = nn.Conv(4, (3, 3), use_bias=False)(x)
        return norm(y), nn.Conv(2, (1, 1))(y)

    assert [call.kind for call in calls_of(function, IMAGE)] == ["conv2d", "batch_norm", "conv2d"]


def test_a_norm_joins_the_loop_of_a_bias_but_a_bare_product_has_none():
    for use_bias, kinds in ((True, ["dense"]), (False, ["dense", "batch_norm"])):
        calls = calls_of(lambda x: norm(nn.Dense(8, use_bias=use_bias)(x)), (2, 4))  # noqa: B023
        assert [call.kind for call in calls] == kinds


def test_kinds_that_are_not_known_are_not_made():
    calls = calls_of(
        lambda x: norm(nn.Conv(4, (3, 3), use_bias=False)(x)), IMAGE, known=("conv2d", "batch_norm")
    )
    assert [call.kind for call in calls] == ["conv2d", "batch_norm"]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.relu, "relu"),
        (lambda x: jnp.maximum(x, 0), "relu"),
        (nn.gelu, "gelu"),
        (lambda x: 0.5 * x * (1 + jax.lax.erf(x)), "gelu"),
        (nn.silu, "silu"),
        (nn.sigmoid, "sigmoid"),
        (jnp.tanh, "tanh"),
        (nn.leaky_relu, "leaky_relu"),
        (nn.hard_swish, "hard_swish"),
        (lambda x: 2 * x + 1, None),
    ],
)
def test_activations_are_told_by_what_they_compute(function, name):
    (call,) = calls_of(lambda x: function(nn.Dense(8)(x)), (2, 4))
    assert call.kind == "dense" and call.values.get("activation") == name


def test_a_residual_costs_the_bytes_that_are_read_from_elsewhere():
    first, second = calls_of(lambda x: nn.Dense(4)(nn.relu(nn.Dense(8)(x))) + x, (2, 4))
    assert (first.fused_bytes, second.fused_bytes) == (0, 2 * 4 * 4)
    assert second.name == "Dense_0+add" and "activation" not in second.values
    assert first.weight_bytes == 4 * (4 * 8 + 8)


def test_a_written_softmax_is_one_call():
    def attention(q, k):
        return nn.softmax(q @ jnp.swapaxes(k, 1, 2)) @ k

    calls = calls_of(attention, (2, 5, 8), (2, 7, 8))
    assert [call.kind for call in calls if call.kind != "activation"] == [
        "dense",
        "softmax",
        "dense",
    ]
    (softmax,) = (call for call in calls if call.kind == "softmax")
    assert (softmax.values["batch_size"], softmax.values["positions"]) == (2, 5)
    assert softmax.values["features"] == 7


def test_functions_alone_are_calls_of_their_own():
    (call,) = calls_of(lambda x: 2 * jnp.exp(x) + 1, (2, 300))
    assert call.kind == "activation"
    assert call.values["positions"] * call.values["features"] == pytest.approx(600, rel=0.2)
