"""The whole models of the experiments: sizes as published, calls and FLOPs as captured."""

import math
from collections import Counter
from functools import cache
from importlib import import_module

import jax
import pytest

from experiments.models import convnets, lstm, mixer, mobilenet, packd, resnet, transformers, unet
from experiments.models.zoo import ZOO
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.fusion import fused_calls
from latency_jax.whole_model.named_model import parse_inputs

IMAGE = ("1,224,224,3:float32",)


@cache
def graph_of(factory):
    return capture(factory(), parse_inputs(inputs_of(factory)))


def inputs_of(factory):
    return ZOO[f"{factory.__module__.rpartition('.')[2]}:{factory.__name__}"]


def parameters(module, *inputs):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *parse_inputs(inputs))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("module", "inputs", "published"),
    [
        (resnet.resnet18(), IMAGE, 11_689_512),
        (mobilenet.mobilenet_v2(), IMAGE, 3_504_872),
        (transformers.vit_tiny(), IMAGE, 5_717_416),
        (mixer.mixer_s(), IMAGE, 18_528_264),
        (convnets.vgg11(), IMAGE, 132_863_336),
        (convnets.squeezenet(), IMAGE, 1_235_496),
        (convnets.densenet121(), IMAGE, 7_978_856),
        (transformers.bert_mini(), ("1,128:int32",), 11_170_560),
        (unet.UNet(features=64, classes=1), ("1,16,16,3",), 31_037_633),  # as published, wider
        (
            transformers.GPT(features=768, depth=12, heads=12, vocabulary=50_257, context=1024),
            ("1,8:int32",),
            124_439_808,  # GPT-2
        ),
        # Two LSTM layers of 650 with one bias for each gate, 10,000 words in and out.
        (lstm.lstm_medium(), ("1,35:int32",), 2 * 6_500_000 + 10_000 + 2 * (8 * 650**2 + 4 * 650)),
    ],
)
def test_parameters_are_as_many_as_published(module, inputs, published):
    assert parameters(module, *inputs) == published


@pytest.mark.parametrize(
    ("factory", "multiply_adds", "tolerance"),
    [  # of the papers; ours count norms, activations and additions too, which mobile networks have
        (resnet.resnet18, 1.814e9, 0.01),
        (mobilenet.mobilenet_v2, 0.3008e9, 0.06),
        (transformers.vit_tiny, 1.258e9, 0.02),
        (mixer.mixer_s, 3.78e9, 0.01),
        (convnets.vgg11, 7.61e9, 0.02),
        (convnets.squeezenet, 0.349e9, 0.03),
        (convnets.densenet121, 2.83e9, 0.04),
    ],
)
def test_captured_flops_are_as_published(factory, multiply_adds, tolerance):
    assert graph_of(factory).flops == pytest.approx(2 * multiply_adds, rel=tolerance)


@pytest.mark.parametrize(
    "factory",
    [
        *(mobilenet.mobilenet_v2, transformers.gpt_mini, mixer.mixer_s, unet.unet),
        *(packd.mixer_student, packd.transformer_teacher, packd.resnet_student),
    ],
)
def test_captured_flops_are_what_xla_counts(factory):
    """XLA leaves out products with the zeros of the padding, which a U-Net has most of."""
    graph = graph_of(factory)
    inputs = parse_inputs(inputs_of(factory))
    analysis = jax.jit(factory().apply).lower(graph.variables, *inputs).cost_analysis()
    assert graph.flops == pytest.approx(analysis["flops"], rel=0.06)


CALLS = {
    resnet.resnet18: {"conv_bn_relu": 20, "max_pool": 1, "global_pool": 1, "dense": 1},
    mobilenet.mobilenet_v2: {
        "conv_bn_relu": 35,
        "depthwise_conv_bn_relu": 17,
        "global_pool": 1,
        "dense": 1,
    },
    transformers.vit_tiny: {
        "conv2d": 1,
        "concat": 1,
        "layer_norm": 25,
        "multi_head_attention": 12,
        "dense": 25,
    },
    transformers.gpt_mini: {
        "embedding": 2,
        "layer_norm": 13,
        "multi_head_attention": 6,
        "dense": 13,
    },
    mixer.mixer_s: {"conv2d": 1, "layer_norm": 17, "dense": 33, "global_pool": 1},
    lstm.lstm_medium: {"embedding": 1, "lstm": 2, "dense": 1},
    unet.unet: {
        "conv_bn_relu": 18,
        "max_pool": 4,
        "conv_transpose2d": 4,
        "concat": 4,
        "conv2d": 1,
    },
}


@pytest.mark.parametrize("factory", CALLS)
def test_calls_are_fused_as_the_architecture_says(factory):
    assert Counter(call.kind for call in fused_calls(graph_of(factory))) == CALLS[factory]


@pytest.mark.parametrize("name", ZOO)
def test_nothing_in_a_model_is_unknown(name):
    module, _, factory = name.partition(":")
    graph = graph_of(getattr(import_module(f"experiments.models.{module}"), factory))
    assert [op.name for op in graph.ops if op.kind == "unknown"] == []
    # What calls weigh is what the model weighs, but for tables, of which they read rows.
    weights = sum(call.weight_bytes for call in fused_calls(graph))
    tables = sum(4 * op.values["vocabulary"] * op.values["features"]
                 for op in graph.ops if op.kind == "embedding")  # fmt: skip
    assert weights <= 1.25 * graph.weight_bytes  # an LSTM of ours multiplies twice with its kernel
    assert weights >= 0.95 * (graph.weight_bytes - tables)
