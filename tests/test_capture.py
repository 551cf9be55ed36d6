"""What is captured of a module: calls, operations between them, values, loops."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from latency_jax.modules import get_kind
from latency_jax.whole_model.calls import KindValues, register_call
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.operations import UNKNOWN


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def kinds_of(graph):
    return [op.kind for op in graph.ops if op.kind not in ("elementwise", "free")]


class Of(nn.Module):
    """One layer, or a plain function."""

    layer: object

    @nn.compact
    def __call__(self, *inputs):
        return self.layer(*inputs)


def only_call(layer, *inputs, kinds=None):
    (op,) = [op for op in capture(Of(layer), inputs, kinds).ops if op.kind not in ("free",)]
    return op


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(16)(x)))


# Layers, inputs, and the kind with what its parameters must be.
MODULES = [
    (nn.Dense(5), [f32(2, 7, 3)], "dense", {"in_features": 3, "out_features": 5, "positions": 7}),
    (nn.Dense(5, use_bias=False), [f32(4, 3)], "dense", {"batch_size": 4, "use_bias": False}),
    (
        nn.DenseGeneral((2, 5), axis=(-2, -1)),
        [f32(2, 9, 3, 4)],
        "dense",
        {"in_features": 12, "out_features": 10, "batch_size": 2, "positions": 9},
    ),
    (
        nn.Conv(8, (3, 3), 2, padding=1, use_bias=False),
        [f32(2, 9, 9, 4)],
        "conv2d",
        {
            "input_size": 9,
            "in_channels": 4,
            "out_channels": 8,
            "stride": 2,
            "padding": "SAME",
            "groups": 1,
        },
    ),
    (
        nn.Conv(8, (3, 3), kernel_dilation=2, feature_group_count=2, padding="VALID"),
        [f32(1, 9, 9, 4)],
        "conv2d",
        {"input_size": 9, "dilation": 2, "groups": 2, "padding": "VALID", "use_bias": True},
    ),
    (
        nn.Conv(12, (3, 3), feature_group_count=4),
        [f32(1, 6, 6, 4)],
        "depthwise_conv2d",
        {"in_channels": 4, "channel_multiplier": 3, "kernel_size": 3, "padding": "SAME"},
    ),
    (
        nn.ConvTranspose(6, (2, 2), (2, 2)),
        [f32(1, 5, 5, 4)],
        "conv_transpose2d",
        {
            "input_size": 5,
            "in_channels": 4,
            "out_channels": 6,
            "kernel_size": 2,
            "stride": 2,
            "padding": "SAME",
        },
    ),
    (
        nn.BatchNorm(use_running_average=True),
        [f32(2, 3, 3, 8)],
        "batch_norm",
        {"batch_size": 2, "positions": 9, "features": 8},
    ),
    (nn.LayerNorm(), [f32(2, 9, 8)], "layer_norm", {"positions": 9, "features": 8}),
    (nn.GroupNorm(2), [f32(2, 9, 8)], "layer_norm", {"positions": 9, "features": 8}),
    (
        nn.Embed(50, 6),
        [jax.ShapeDtypeStruct((2, 7), jnp.int32)],
        "embedding",
        {"batch_size": 2, "tokens": 7, "vocabulary": 50, "features": 6},
    ),
    (
        nn.MultiHeadDotProductAttention(2),
        [f32(3, 5, 8)],
        "multi_head_attention",
        {"batch_size": 3, "tokens": 5, "features": 8, "heads": 2},
    ),
    (
        nn.RNN(nn.LSTMCell(6)),
        [f32(2, 5, 4)],
        "lstm",
        {"batch_size": 2, "tokens": 5, "in_features": 4, "features": 6},
    ),
]


@pytest.mark.parametrize(("layer", "inputs", "kind", "expected"), MODULES)
def test_a_module_is_a_kind_with_its_parameters(layer, inputs, kind, expected):
    op = only_call(layer, *inputs)
    assert op.kind == kind and op.path == "layer"
    assert {name: op.values[name] for name in expected} == expected
    # The kind can be built from them, and gives an output of as many numbers.
    built = get_kind(kind).build(op.values)
    assert [x.size for x in built.inputs] == [x.size for x in inputs]
    shapes = [
        jax.eval_shape(m.init_with_output, jax.random.key(0), *x)[0]
        for m, x in ((built.module, built.inputs), (layer, inputs))
    ]
    assert shapes[0].size == shapes[1].size


FUNCTIONS = [
    (lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), [f32(1, 9, 9, 4)], "max_pool",
     {"input_size": 9, "channels": 4, "kernel_size": 3, "stride": 2, "padding": "SAME"}),
    (lambda x: x.mean(axis=(1, 2)), [f32(2, 4, 4, 3)], "global_pool",
     {"batch_size": 2, "positions": 16, "features": 3}),
    (lambda x, y: jnp.concatenate([x, y], -1), [f32(2, 5, 3), f32(2, 5, 4)], "concat",
     {"batch_size": 2, "positions": 5, "features": 3, "other_features": 4}),
    (lambda x, y: x @ y, [f32(2, 5, 3), f32(2, 3, 4)], "dense",
     {"batch_size": 2, "positions": 5, "in_features": 3, "out_features": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "kind", "expected"), FUNCTIONS)
def test_an_operation_between_modules_is_a_kind_too(function, inputs, kind, expected):
    op = capture(Of(function), inputs).ops[0]
    assert op.kind == kind and op.module == "Of"
    assert {name: op.values[name] for name in expected} == expected


def test_average_pools_divide_afterwards():
    graph = capture(Of(lambda x: nn.avg_pool(x, (2, 2), (2, 2))), [f32(1, 8, 8, 4)])
    assert [op.kind for op in graph.ops] == ["avg_pool", "elementwise"]


def test_a_kernel_that_is_no_square_is_a_product_of_patches_and_a_grouped_one_is_not_known():
    op = only_call(nn.Conv(8, (5,)), f32(2, 20, 4))
    assert op.kind == "dense" and op.values["positions"] == 20
    assert op.flops == 2 * 40 * 5 * 4 * 8 + 40 * 8
    op = only_call(nn.Conv(8, (1, 7), use_bias=False), f32(1, 6, 10, 4))
    assert op.kind == "dense" and op.flops == 2 * 60 * 7 * 4 * 8
    op = only_call(nn.Conv(8, (1, 7), feature_group_count=4, use_bias=False), f32(1, 6, 10, 4))
    assert op.kind == UNKNOWN and op.module == "Conv"


def test_attention_over_another_sequence_is_looked_into():
    graph = capture(Of(nn.MultiHeadDotProductAttention(2)), [f32(1, 5, 8), f32(1, 9, 8)])
    products = [op for op in graph.ops if op.kind == "dense"]
    assert [op.path.rpartition("/")[2] for op in products] == [
        *("query", "key", "value"), "layer", "layer", "out"
    ]  # fmt: skip
    assert products[1].flops == 2 * 9 * 8 * 8 + 9 * 8


def test_modules_of_other_kinds_are_looked_into():
    graph = capture(Of(nn.LayerNorm()), [f32(2, 9, 8)], kinds=("dense",))
    assert kinds_of(graph) == ["global_pool", "global_pool"]
    assert {op.path for op in graph.ops} == {"layer"}


@pytest.mark.parametrize("lift", [lambda block: block, nn.remat, nn.jit])
def test_programs_within_the_program_are_looked_into(lift):
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            return lift(Block)()(lift(Block)()(x))

    graph = capture(Twice(), [f32(2, 8)])
    assert kinds_of(graph) == ["dense"] * 4
    assert graph.flops == sum(op.flops for op in graph.ops)
    paths = [op.path for op in graph.ops if op.kind == "dense"]
    assert len(set(paths)) == 4


def test_a_scan_runs_its_body_as_often_as_it_is_long():
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return Block()(x), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(
                Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            return nn.Dense(2)(layers()(x, None)[0])

    graph = capture(Scanned(), [f32(2, 8)])
    runs = [(op.runs, op.flops) for op in graph.ops if op.kind == "dense"]
    assert runs == [
        (3, 2 * 2 * 8 * 16 + 2 * 16),
        (3, 2 * 2 * 8 * 16 + 2 * 8),
        (1, 2 * 2 * 8 * 2 + 4),
    ]
    assert len({op.equations for op in graph.ops if op.runs == 3}) == 1  # it cannot be cut


def test_values_flow_from_the_inputs_to_the_outputs():
    graph = capture(Block(), [f32(2, 8)])
    made = set(graph.inputs)
    for op in graph.ops:
        assert set(op.inputs) <= made
        made |= set(op.outputs)
    assert set(graph.outputs) <= made
    (residual,) = [op for op in graph.ops if graph.inputs[0] in op.inputs and op.operation == "add"]
    assert residual.outputs == graph.outputs
    assert [graph.size_bytes[v] for v in (*graph.inputs, *graph.outputs)] == [64, 64]
    assert graph.weight_bytes == 4 * (8 * 16 + 16 + 16 * 8 + 8)


def test_what_no_kind_describes_is_unknown_and_belongs_to_its_module():
    class Sorting(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sort(nn.Dense(4)(x), axis=-1)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, Sorting()(x))

    unknown = [op for op in capture(Model(), [f32(2, 3)]).ops if op.kind == UNKNOWN]
    assert [(op.path, op.module, op.operation) for op in unknown] == [
        ("Sorting_0", "Sorting", "sort"),
        ("", "Model", "while"),
    ]


def test_a_module_of_ones_own_can_be_made_known():
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(8)(x) * nn.sigmoid(nn.Dense(8)(x))

    class Derived(Gated):
        pass

    def as_dense(module, inputs, output):
        if output.shape[0] > 2:
            return None
        return KindValues("dense", {"in_features": inputs[0].shape[-1], "out_features": 16})

    register_call(Gated, as_dense)
    graph = capture(Of(Derived()), [f32(2, 3)])
    assert [(op.kind, op.path, op.module) for op in graph.ops] == [("dense", "layer", "Derived")]
    assert kinds_of(capture(Of(Derived()), [f32(3, 3)])) == ["dense", "dense"]


def test_half_width_numbers_are_seen():
    op = only_call(nn.Dense(5, dtype=jnp.bfloat16), f32(2, 3))
    assert op.values["dtype"] == "bfloat16"


def test_what_the_module_raises_is_passed_on():
    with pytest.raises(TypeError, match="positional argument"):
        capture(nn.Dense(3), [f32(2, 3), f32(2, 3)])
