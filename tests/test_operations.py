"""Equations of real programs as module kinds, and their FLOPs as XLA counts them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from latency_jax.modules import get_kind
from latency_jax.whole_model import operations
from latency_jax.whole_model.operations import ELEMENTWISE, FREE, UNKNOWN, operation


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def i32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def mapped(function, inputs, static=(), primitive=None):
    """The kind of the only equation, or of the only one of that primitive; `static` operands."""
    equations = jax.make_jaxpr(function)(*inputs).eqns
    (equation,) = [e for e in equations if primitive in (None, e.primitive.name)]
    return operation(equation, [i in static for i in range(len(equation.invars))])


def xla_flops(function, inputs):
    analysis = jax.jit(function).lower(*inputs).cost_analysis()
    assert analysis is not None
    return analysis["flops"]


def product(lhs, rhs, batch=((), ())):
    return lambda x, y: lax.dot_general(x, y, ((lhs, rhs), batch))


def conv(padding="VALID", strides=None, spec=None, **settings):
    def function(x, kernel):
        axes = "DHW"[-(x.ndim - 2) :]
        channels_last = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
        steps = strides or (1,) * len(axes)
        return lax.conv_general_dilated(
            x, kernel, steps, padding, dimension_numbers=spec or channels_last, **settings
        )

    return function


def pool(init, reducer, window, strides, padding="VALID", **settings):
    return lambda x: lax.reduce_window(x, init, reducer, window, strides, padding, **settings)


def dense(*sizes):
    names = ("batch_size", "positions", "in_features", "out_features")
    return {**dict(zip(names, sizes)), "use_bias": False, "dtype": "float32"}


# (function, its inputs, which operands are weights, values of dense)
PRODUCTS = [
    (product((2,), (0,)), [f32(2, 5, 3), f32(3, 4)], (1,), dense(2, 5, 3, 4)),
    # Weights come first: rows are those of the other operand.
    (product((1,), (2,)), [f32(4, 3), f32(2, 5, 3)], (0,), dense(2, 5, 3, 4)),
    # The axis that is summed over is no batch, though it comes first and divides the rows.
    (product((0,), (0,)), [f32(3, 6), f32(3, 4)], (1,), dense(6, 1, 3, 4)),
    (product((1,), (0,)), [f32(4, 3), f32(3, 6)], (0,), dense(6, 1, 3, 4)),
    # Scores of attention: a product for each head of each example.
    (product((3,), (3,), ((0, 2), (0, 2))), [f32(2, 5, 4, 8), f32(2, 7, 4, 8)], (),
     dense(2, 20, 8, 7)),
    (product((1, 2), (0, 1)), [f32(2, 3, 4), f32(3, 4, 5)], (1,), dense(2, 1, 12, 5)),
    (product((0,), (0,)), [f32(9), f32(9)], (), dense(1, 1, 9, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "static", "values"), PRODUCTS)
def test_a_product_is_a_dense_layer(function, inputs, static, values):
    assert mapped(function, inputs, static) == ("dense", values)
    assert get_kind("dense").cost(values).flops == xla_flops(function, inputs)


IMAGE, KERNEL = f32(2, 10, 10, 4), f32(3, 3, 4, 8)
# Convolutions without padding, whose FLOPs are those that XLA counts.
CONVOLUTIONS = [
    (conv(), [IMAGE, KERNEL], "conv2d",
     {"batch_size": 2, "input_size": 10, "in_channels": 4, "out_channels": 8, "kernel_size": 3,
      "stride": 1, "padding": "VALID", "dilation": 1, "groups": 1, "use_bias": False,
      "dtype": "float32"}),
    (conv(strides=(2, 2)), [IMAGE, KERNEL], "conv2d", {"input_size": 10, "stride": 2}),
    (conv(rhs_dilation=(3, 3)), [IMAGE, KERNEL], "conv2d", {"dilation": 3, "input_size": 10}),
    (conv(feature_group_count=2), [IMAGE, f32(3, 3, 2, 8)], "conv2d",
     {"groups": 2, "in_channels": 4, "out_channels": 8}),
    (conv(feature_group_count=4), [IMAGE, f32(3, 3, 1, 8)], "depthwise_conv2d",
     {"in_channels": 4, "channel_multiplier": 2}),
    (conv(spec=("NCHW", "OIHW", "NCHW")), [f32(2, 4, 10, 10), f32(8, 4, 3, 3)], "conv2d",
     {"input_size": 10, "in_channels": 4, "out_channels": 8}),
    # A narrow map stands for a square one with as many outputs.
    (conv(), [f32(1, 3, 66, 4), KERNEL], "conv2d", {"input_size": 10}),
    (conv(), [f32(2, 20, 4), f32(5, 4, 8)], "dense", dense(2, 16, 20, 8)),
    (conv(strides=(2, 1)), [IMAGE, KERNEL], "dense", dense(2, 4 * 8, 36, 8)),
    (conv(), [f32(1, 5, 5, 5, 2), f32(3, 3, 3, 2, 8)], "dense", dense(1, 27, 54, 8)),
    (lambda x, y: lax.conv_transpose(x, y, (2, 2), "VALID"), [IMAGE, KERNEL], "conv_transpose2d",
     {"input_size": 10, "in_channels": 4, "out_channels": 8, "kernel_size": 3, "stride": 2,
      "padding": "VALID"}),
    (lambda x, y: lax.conv_transpose(x, y, (2, 2), "SAME"), [IMAGE, f32(2, 2, 4, 8)],
     "conv_transpose2d", {"padding": "SAME", "kernel_size": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "kind", "values"), CONVOLUTIONS)
def test_a_convolution_is_a_kind_with_the_flops_that_xla_counts(function, inputs, kind, values):
    found = mapped(function, inputs, (1,))
    assert found.kind == kind and found.values == {**found.values, **values}
    assert get_kind(kind).cost(found.values).flops == xla_flops(function, inputs)


@pytest.mark.parametrize(
    ("padding", "strides", "values", "padded"),
    [
        ("SAME", (1, 1), {"padding": "SAME", "input_size": 10}, 12),
        ("SAME", (2, 2), {"padding": "SAME", "input_size": 10}, 11),
        (((1, 1), (1, 1)), (2, 2), {"padding": "SAME", "input_size": 10}, 12),
        (((3, 3), (3, 3)), (1, 1), {"padding": "VALID", "input_size": 16}, 16),
        (((-1, -1), (-1, -1)), (1, 1), {"padding": "VALID", "input_size": 8}, 8),
    ],
)
def test_zeros_of_the_padding_are_multiplied_too(padding, strides, values, padded):
    found = mapped(conv(padding, strides), [IMAGE, KERNEL], (1,))
    assert found.kind == "conv2d" and found.values == {**found.values, **values}
    inputs = [f32(2, padded, padded, 4), KERNEL]
    assert get_kind("conv2d").cost(found.values).flops == xla_flops(conv(strides=strides), inputs)


def test_convolutions_that_no_kind_describes():
    grouped = conv(feature_group_count=4)
    assert mapped(grouped, [f32(2, 20, 4), f32(5, 1, 8)]) == (UNKNOWN, {})
    assert mapped(conv(batch_group_count=2), [IMAGE, KERNEL]) == (UNKNOWN, {})
    none = ((0, 0), (0, 0))
    transposed = conv(none, lhs_dilation=(2, 2), feature_group_count=4)
    assert mapped(transposed, [IMAGE, f32(3, 3, 1, 8)]) == (UNKNOWN, {})
    # Dilated to 19 by 19 and strided at once: no transposed convolution, but it has patches.
    found = mapped(conv(none, (2, 2), lhs_dilation=(2, 2)), [IMAGE, KERNEL])
    assert found == ("dense", dense(2, 9 * 9, 36, 8))


MAX = (-np.inf, lax.max)
POOLS = [
    (pool(*MAX, (1, 2, 2, 1), (1, 2, 2, 1)), IMAGE, "max_pool",
     {"batch_size": 2, "input_size": 10, "channels": 4, "kernel_size": 2, "stride": 2,
      "padding": "VALID", "dtype": "float32"}),
    (pool(0.0, lax.add, (1, 1, 3, 3), (1, 1, 2, 2)), f32(2, 4, 11, 11), "avg_pool",
     {"batch_size": 2, "input_size": 11, "channels": 4, "kernel_size": 3, "stride": 2}),
    (pool(*MAX, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), IMAGE, "max_pool",
     {"input_size": 10, "padding": "SAME"}),
    (pool(*MAX, (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))), IMAGE, "max_pool",
     {"input_size": 12, "padding": "VALID"}),
    (pool(*MAX, (1, 3, 3, 1), (1, 1, 1, 1)), f32(1, 3, 66, 4), "max_pool", {"input_size": 10}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "x", "kind", "values"), POOLS)
def test_a_pool_is_a_kind_with_as_many_outputs(function, x, kind, values):
    found = mapped(function, [x])
    assert found.kind == kind and found.values == {**found.values, **values}
    outputs = jax.eval_shape(function, x).size
    # XLA counts what joins the numbers of a window, one less than these.
    assert get_kind(kind).cost(found.values).flops == xla_flops(function, [x]) + outputs


@pytest.mark.parametrize(
    "function",
    [
        pool(*MAX, (1, 2, 3, 1), (1, 1, 1, 1)),
        pool(*MAX, (1, 2, 2, 1), (1, 2, 1, 1)),
        pool(*MAX, (1, 2, 2, 1), (1, 1, 1, 1), window_dilation=(1, 2, 2, 1)),
    ],
)
def test_pools_that_no_kind_describes(function):
    assert mapped(function, [IMAGE]) == (UNKNOWN, {})


@pytest.mark.parametrize(
    ("function", "batch_size", "positions", "features"),
    [
        (lambda x: lax.reduce_sum(x, (1, 2)), 4, 15, 6),
        (lambda x: lax.reduce_max(x, (3,)), 4, 6, 15),
        (lambda x: lax.reduce_min(x, (0,)), 1, 4, 90),
        (lambda x: lax.reduce_prod(x, (0, 1, 2, 3)), 1, 360, 1),
        (lambda x: lax.argmax(x, 3, jnp.int32), 4, 6, 15),
    ],
)
def test_a_reduction_is_a_pool_over_positions(function, batch_size, positions, features):
    found = mapped(function, [f32(4, 3, 5, 6)])
    sizes = {"batch_size": batch_size, "positions": positions, "features": features}
    assert found == ("global_pool", {**sizes, "dtype": "float32"})


@pytest.mark.parametrize(
    ("index", "table", "indices", "tokens", "vocabulary", "features"),
    [
        (lambda t, i: t[i], f32(50, 6), i32(3, 7), (3, 7), 50, 6),
        (lambda t, i: t[:, i], f32(8, 100), i32(5), (1, 5), 100, 8),
        (lambda t, i: t[i], f32(9), i32(3, 4), (3, 4), 9, 1),
        (lambda t, i: t[i], f32(50, 2, 3), i32(4), (4, 1), 50, 6),
    ],
)
def test_slices_of_a_table_of_weights(index, table, indices, tokens, vocabulary, features):
    found = mapped(index, [table, indices], (0,), "gather")
    sizes = {"vocabulary": vocabulary, "features": features, "dtype": "float32"}
    assert found == ("embedding", {"batch_size": tokens[0], "tokens": tokens[1], **sizes})
    read = jax.eval_shape(index, table, indices).size * 4
    assert get_kind("embedding").cost(found.values).output_bytes == read
    # Of what the model computes, or at places that are known: a matter of loops.
    for static in ((), (0, 1), (1,)):
        assert mapped(index, [table, indices], static, "gather") == (ELEMENTWISE, {})


@pytest.mark.parametrize(
    ("axis", "shapes", "batch_size", "positions", "features", "others"),
    [
        (2, [(2, 5, 3), (2, 5, 4)], 2, 5, 3, 4),
        (1, [(2, 5, 3), (2, 4, 3), (2, 1, 3)], 2, 1, 15, 15),
        (0, [(2, 5, 3), (7, 5, 3)], 1, 1, 30, 105),
    ],
)
def test_concatenations(axis, shapes, batch_size, positions, features, others):
    inputs = [f32(*shape) for shape in shapes]
    found = mapped(lambda *x: lax.concatenate(x, axis), inputs)
    rows = {"batch_size": batch_size, "positions": positions, "dtype": "float32"}
    assert found == ("concat", {**rows, "features": features, "other_features": others})
    assert get_kind("concat").cost(found.values).output_bytes == 4 * sum(x.size for x in inputs)


def test_what_is_in_a_loop_what_is_free_and_what_nobody_knows():
    x = f32(4, 6)
    for function in (jnp.exp, lambda x: x * x, jnp.transpose, lambda x: lax.rev(x, (0,))):
        assert mapped(function, [x]) == (ELEMENTWISE, {})
    for function in (lambda x: lax.reshape(x, (24,)), lambda x: lax.slice(x, (0, 0), (2, 2))):
        assert mapped(function, [x]) == (FREE, {})
    for function in (lax.cumsum, lambda x: lax.sort(x), lambda x: lax.top_k(x, 2)):
        assert mapped(function, [x]) == (UNKNOWN, {})


def test_dtypes_and_rows():
    names = ("float32", "bfloat16", "float16", "int32", "int16", "bool")
    found = [operations.dtype_name(jnp.zeros(1, name)) for name in names]
    assert found == ["float32", "bfloat16", "float16", "float32", "bfloat16", "float32"]
    assert operations.split_rows(12, (4, 9)) == {"batch_size": 4, "positions": 3}
    for shape in ((12,), (5, 9), (0, 3), ()):
        assert operations.split_rows(12, shape) == {"batch_size": 1, "positions": 12}
