"""What is drawn for a model: its kinds, around its sizes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from latency_jax.config import CollectConfig
from latency_jax.modules import sample_config
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.fusion import fused_calls
from latency_jax.whole_model.neighbourhood import neighbourhood


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(24, (3, 3), strides=2, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.relu(nn.Dense(48)(x.mean(axis=(1, 2))))
        return nn.Dense(5000)(x)


GRAPH = capture(Model(), (jax.ShapeDtypeStruct((4, 32, 32, 3), "float32"),))


def test_sizes_are_drawn_around_those_of_the_calls_and_the_rest_as_they_are():
    near = neighbourhood(GRAPH)
    conv = near["conv_bn_relu"]
    assert (conv["input_size"], conv["in_channels"], conv["out_channels"]) == (
        "16:64",
        "1:6",
        "12:48",
    )
    assert (conv["kernel_size"], conv["stride"], conv["batch_size"]) == ("3", "2", "4")
    assert conv["dilation"] == "1" and conv["activation"] == "relu"
    dense = near["dense"]
    assert dense["in_features"] == "12:96"  # of 24 and 48
    assert dense["out_features"] == "24:8192"  # of 48 and 5000, as the kind goes no further
    assert sorted(dense["activation"].split(",")) == ["none", "relu"]


def test_it_holds_every_call_of_the_model():
    near = neighbourhood(GRAPH)
    assert {call.kind for call in fused_calls(GRAPH)} <= near.keys()
    config = CollectConfig(kinds=tuple(near), customizations=near)
    rng = np.random.default_rng(0)
    for kind in near:
        drawn = [sample_config(kind, rng, config.customizations_of(kind)).values for _ in range(40)]
        assert {row["batch_size"] for row in drawn} == {4}
        assert len({tuple(row.items()) for row in drawn}) > 10, kind


class Sorting(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sort(x)


def test_what_no_kind_describes_is_left_out():
    assert neighbourhood(capture(Sorting(), (jax.ShapeDtypeStruct((4, 9), "float32"),))) == {}
