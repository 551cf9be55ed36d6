"""What an operation between modules costs: equations of a jaxpr as module kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn

from latency_jax.modules.counting import ITEM_BYTES
from latency_jax.parameters import Value

# In place of a kind. XLA computes element-wise operations in the loop of what they follow, and
# free ones are a matter of indices; neither is predicted by itself.
ELEMENTWISE, FREE, UNKNOWN = "elementwise", "free", "unknown"

_ELEMENTWISE_NAMES = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp complex conj cos cosh
    digamma div dynamic_slice dynamic_update_slice eq erf erf_inv erfc exp exp2 expm1 floor gather
    ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter
    not or pad pow real reduce_precision rem rev round rsqrt select_n shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh transpose xor
"""
_FREE_NAMES = """
    bitcast_convert_type broadcast broadcast_in_dim convert_element_type copy copy_p expand_dims
    iota name optimization_barrier reshape slice split squeeze stop_gradient
"""
_REDUCTION_NAMES = """
    argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum
"""
_ELEMENTWISE, _FREE, _REDUCTIONS = (
    frozenset(names.split()) for names in (_ELEMENTWISE_NAMES, _FREE_NAMES, _REDUCTION_NAMES)
)
_POOLS = {"reduce_window_max": "max_pool", "reduce_window_sum": "avg_pool"}


class KindValues(NamedTuple):
    """A module kind and the values of its parameters and of batch_size and dtype."""

    kind: str
    values: dict[str, Value]


def operation(equation: JaxprEqn, is_static: Sequence[bool]) -> KindValues:
    """The kind that an equation is timed as, or ELEMENTWISE, FREE or UNKNOWN.

    `is_static` says which operands depend on weights alone.
    """
    name = equation.primitive.name
    if name == "dot_general":
        return _product(equation, is_static)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "concatenate":
        return _concatenation(equation)
    if name in _POOLS:
        return _pool(equation)
    if name in _REDUCTIONS:
        return _reduction(equation)
    if name == "gather" and is_static[0] and not is_static[1]:
        return _lookup(equation)
    if name in _ELEMENTWISE:
        return KindValues(ELEMENTWISE, {})
    return KindValues(FREE if name in _FREE else UNKNOWN, {})


def dtype_name(array: Any) -> str:
    """The dtype as the condition of that name has it; what it has not, by its width."""
    name = str(array.dtype)
    return name if name in ITEM_BYTES else {2: "bfloat16"}.get(array.dtype.itemsize, "float32")


def split_rows(rows: int, shape: Sequence[int]) -> dict[str, Value]:
    """`rows` as a batch, the length of the first axis of `shape`, and positions."""
    batch_size = shape[0] if len(shape) > 1 and shape[0] and rows % shape[0] == 0 else 1
    return {"batch_size": batch_size, "positions": rows // batch_size}


def _product(equation: JaxprEqn, is_static: Sequence[bool]) -> KindValues:
    """A dense layer whose weights are the static operand, or else the second one."""
    contracted, (batched, _) = equation.params["dimension_numbers"]
    lhs, rhs = (x.shape for x in _arrays(equation.invars))
    in_features = math.prod(lhs[i] for i in contracted[0])
    batch = math.prod(lhs[i] for i in batched)
    sizes = [math.prod(shape) // max(in_features * batch, 1) for shape in (lhs, rhs)]
    is_swapped = is_static[0] and not is_static[1]
    rows, out_features = sizes[::-1] if is_swapped else sizes
    values = {"in_features": in_features, "out_features": out_features, "use_bias": False}
    given, summed = (rhs, contracted[1]) if is_swapped else (lhs, contracted[0])
    kept = [n for i, n in enumerate(given) if i not in summed]
    rest = split_rows(batch * rows, (*kept, in_features))
    return KindValues(
        "dense", {**values, **rest, "dtype": dtype_name(_arrays(equation.outvars)[0])}
    )


def _convolution(equation: JaxprEqn) -> KindValues:
    """conv2d, depthwise_conv2d or conv_transpose2d; a dense layer over patches where the kernel
    or the stride is not square, there are one or three axes, or it is strided and transposed;
    unless it is grouped. Such patches hold the zeros of a transposed convolution."""
    p = equation.params
    shapes = [x.shape for x in _arrays([*equation.invars, *equation.outvars])]
    lhs_spec, rhs_spec, out_spec = p["dimension_numbers"]
    specs = (lhs_spec, rhs_spec, out_spec)
    inputs, kernel, outputs = ([s[i] for i in spec] for s, spec in zip(shapes, specs))
    batch_size, in_channels, *in_sizes = inputs  # the specs name batch, features, then space
    out_channels, channels_of_group, *kernel_sizes = kernel
    out_sizes, groups = outputs[2:], p["feature_group_count"]
    dtype = dtype_name(_arrays(equation.outvars)[0])
    settings = {
        "kernel": kernel_sizes,
        "stride": list(p["window_strides"]),
        "expansion": list(p["lhs_dilation"]),
        "dilation": list(p["rhs_dilation"]),
    }
    is_square = len(in_sizes) == 2 and all(len(set(s)) == 1 for s in settings.values())
    is_fractional = all(any(s > 1 for s in settings[name]) for name in ("stride", "expansion"))
    if not is_square or is_fractional or p["batch_group_count"] != 1:
        if groups != 1 or p["batch_group_count"] != 1:
            return KindValues(UNKNOWN, {})
        patch = math.prod(kernel_sizes) * channels_of_group
        values = {"in_features": patch, "out_features": out_channels, "use_bias": False}
        rest = split_rows(batch_size * math.prod(out_sizes), (batch_size, 0))
        return KindValues("dense", {**values, **rest, "dtype": dtype})
    kernel_size, stride, expansion, dilation = (s[0] for s in settings.values())
    values = {
        "batch_size": batch_size,
        "dtype": dtype,
        "in_channels": in_channels,
        "kernel_size": kernel_size,
        "use_bias": False,
    }
    if expansion > 1:
        if groups != 1:
            return KindValues(UNKNOWN, {})
        is_same = math.prod(out_sizes) == math.prod(in_sizes) * expansion**2
        size = round(math.sqrt(math.prod(in_sizes)))
        values |= {"input_size": size, "stride": expansion, "out_channels": out_channels}
        return KindValues("conv_transpose2d", {**values, "padding": "SAME" if is_same else "VALID"})
    spanned = (kernel_size - 1) * dilation + 1
    values |= _square(in_sizes, out_sizes, spanned, stride, p["padding"])
    values |= {"stride": stride, "dilation": dilation}
    if groups > 1 and groups == in_channels:
        multiplier = out_channels // in_channels
        return KindValues("depthwise_conv2d", {**values, "channel_multiplier": multiplier})
    return KindValues("conv2d", {**values, "out_channels": out_channels, "groups": groups})


def _square(
    in_sizes: Sequence[int],
    out_sizes: Sequence[int],
    spanned: int,
    stride: int,
    padding: Sequence[tuple[int, int]],
) -> dict[str, Value]:
    """input_size and padding of a square map that windows of `spanned` positions go over.

    Padding other than SAME counts as part of the input. A map that is no square stands for one
    with as many outputs, as a narrow one has far fewer of them than its area lets expect.
    """
    padded = [n + sum(pad) for n, pad in zip(in_sizes, padding)]
    is_same = padded != list(in_sizes) and list(out_sizes) == [-(-n // stride) for n in in_sizes]
    sizes = in_sizes if is_same else padded
    outputs = round(math.sqrt(math.prod(out_sizes)))
    alike = outputs * stride if is_same else (outputs - 1) * stride + spanned
    size = sizes[0] if len(set(sizes)) == 1 else alike
    return {"input_size": size, "padding": "SAME" if is_same else "VALID"}


def _concatenation(equation: JaxprEqn) -> KindValues:
    """Rows are what lies before the axis; what lies behind it is copied in one piece."""
    axis, (output,) = equation.params["dimension"], _arrays(equation.outvars)
    first, *others = (math.prod(x.shape[axis:]) for x in _arrays(equation.invars))
    rows = split_rows(math.prod(output.shape[:axis]), output.shape)
    if not others:
        return KindValues(FREE, {})
    features = {"features": first, "other_features": sum(others)}
    return KindValues("concat", {**rows, **features, "dtype": dtype_name(output)})


def _pool(equation: JaxprEqn) -> KindValues:
    """A pool with a square window over two axes of four."""
    p, inputs, output = equation.params, *_arrays([equation.invars[0], equation.outvars[0]])
    windowed = [i for i, size in enumerate(p["window_dimensions"]) if size > 1]
    kernels = {p["window_dimensions"][i] for i in windowed}
    strides = {p["window_strides"][i] for i in windowed}
    is_dilated = any(d != 1 for d in (*p["base_dilation"], *p["window_dilation"]))
    is_square = len(windowed) == 2 and len(kernels) == len(strides) == 1
    if not is_square or is_dilated or len(inputs.shape) != 4:
        return KindValues(UNKNOWN, {})
    (kernel_size,), (stride,) = kernels, strides
    in_sizes, out_sizes, padding = (
        [sizes[i] for i in windowed] for sizes in (inputs.shape, output.shape, p["padding"])
    )
    batch_size, channels = (n for i, n in enumerate(inputs.shape) if i not in windowed)
    values = {
        "batch_size": batch_size,
        "channels": channels,
        "kernel_size": kernel_size,
        "stride": stride,
        **_square(in_sizes, out_sizes, kernel_size, stride, padding),
        "dtype": dtype_name(inputs),
    }
    return KindValues(_POOLS[equation.primitive.name], values)


def _reduction(equation: JaxprEqn) -> KindValues:
    """A mean over positions, whichever axes these are; without a batch if that goes with them."""
    inputs, output = _arrays([equation.invars[0], equation.outvars[0]])
    kept = math.prod(output.shape)
    batch_size = 1 if 0 in equation.params["axes"] else output.shape[0]
    values = {
        "batch_size": batch_size,
        "positions": max(math.prod(inputs.shape) // max(kept, 1), 1),
        "features": max(kept // max(batch_size, 1), 1),
        "dtype": dtype_name(inputs),
    }
    return KindValues("global_pool", values)


def _lookup(equation: JaxprEqn) -> KindValues:
    """Slices of a table of weights, such as its rows, as an embedding."""
    table, output = _arrays([equation.invars[0], equation.outvars[0]])
    features = max(math.prod(equation.params["slice_sizes"]), 1)
    rest = split_rows(math.prod(output.shape) // features, output.shape)
    values = {
        "batch_size": rest["batch_size"],
        "tokens": rest["positions"],
        "vocabulary": math.prod(table.shape) // features,
        "features": features,
        "dtype": dtype_name(output),
    }
    return KindValues("embedding", values)


def _arrays(variables: Sequence[Any]) -> list[Any]:
    """Shapes and dtypes."""
    return [v.aval for v in variables]
