"""Convolutions over square feature maps `[batch_size, input_size, input_size, in_channels]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from latency_jax.modules.activations import Activated, activation_flops
from latency_jax.modules.counting import is_on, is_same, item_bytes, output_size, where, window
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import (
    ACTIVATION,
    IN_CHANNELS,
    INPUT_SIZE,
    KERNEL_SIZE,
    OUT_CHANNELS,
    PADDING,
    STRIDE,
    USE_BIAS,
)
from latency_jax.parameters import Parameter

DILATION = Parameter("dilation", default=1, low=1, high=16, choices=(1, 1, 1, 1, 1, 2, 4))
GROUPS = Parameter("groups", default=1, low=1, high=4096, choices=(1, 1, 1, 1, 1, 1, 2, 4, 8, 32))
MULTIPLIER = Parameter("channel_multiplier", default=1, low=1, high=16, choices=(1, 1, 1, 2, 4))


def conv(v: Mapping[str, Any], use_bias: bool) -> nn.Conv:
    """The linen layer of conv2d and of what contains one."""
    return nn.Conv(
        v["out_channels"],
        (v["kernel_size"],) * 2,
        strides=v["stride"],
        padding=v["padding"],
        kernel_dilation=v["dilation"],
        feature_group_count=v["groups"],
        use_bias=use_bias,
        dtype=v["dtype"],
        param_dtype=v["dtype"],
    )


def conv_cost(v: Mapping[str, Any], flops_per_output: Any, use_bias: Any) -> Cost:
    """A convolution with `flops_per_output` for each output after its products and its bias.

    FLOPs include products with the zeros of the padding.
    """
    item = item_bytes(v["dtype"])
    outputs = v["batch_size"] * output_size(v) ** 2 * v["out_channels"]
    products = v["kernel_size"] ** 2 * v["in_channels"] / v["groups"]
    return Cost(
        flops=outputs * (2 * products + use_bias + flops_per_output),
        input_bytes=v["batch_size"] * v["input_size"] ** 2 * v["in_channels"] * item,
        weight_bytes=(products + use_bias) * v["out_channels"] * item,
        output_bytes=outputs * item,
    )


def feature_map(v: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    """The input of a convolution."""
    return shape(v, v["batch_size"], v["input_size"], v["input_size"], v["in_channels"])


def conv_fits(v: Mapping[str, Any]) -> bool:
    """Groups divide the channels, and the kernel lies within the input (unless padded to it)."""
    spanned = window(v["kernel_size"], v["dilation"])
    return v["in_channels"] % v["groups"] == v["out_channels"] % v["groups"] == 0 and (
        spanned <= v["input_size"] or v["padding"] == "SAME"
    )


def depthwise(v: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a depthwise convolution as those of a grouped one."""
    out_channels = v["in_channels"] * v["channel_multiplier"]
    return {**v, "groups": v["in_channels"], "out_channels": out_channels}


def _make_conv(v: Mapping[str, Any]) -> Built:
    return Built(Activated(conv(v, v["use_bias"]), v["activation"]), (feature_map(v),))


def _count_conv(v: Mapping[str, Any]) -> Cost:
    return conv_cost(v, activation_flops(v["activation"]), is_on(v["use_bias"]))


def conv_work(v: Mapping[str, Any]) -> Any:
    """Grouped convolutions are plain loops over outputs, others a matrix product of patches."""
    size = output_size(v)
    positions = v["batch_size"] * size**2
    outputs, taps = positions * v["out_channels"], v["kernel_size"] ** 2
    dilated = (v["dilation"] > 1) & (v["kernel_size"] > 1)
    loops = outputs * taps * v["in_channels"] / v["groups"]
    slower = where(v["stride"] > 1, 2.0, 1.0)
    grouped = slower * (1000 * outputs + where(dilated, 640, 90) * loops)
    sparse = where(dilated, positions * taps * (2000 + 320 * v["in_channels"]), 0)
    plain = product_work(v["batch_size"], size, taps * v["in_channels"], v["out_channels"])
    return where(v["groups"] > 1, grouped, plain + sparse)


def product_work(images: Any, size: Any, patch: Any, out_channels: Any) -> Any:
    """A product of patches [images * size**2, patch] and a kernel, both of which are copied first.

    Short rows of patches are copied number by number.
    """
    positions = images * size**2
    copies = positions * (800 + 80 * patch * (1 + 12 / size)) + 200 * patch * out_channels
    return 4 * positions * patch * out_channels + copies


def _make_transpose(v: Mapping[str, Any]) -> Built:
    layer = nn.ConvTranspose(
        v["out_channels"],
        (v["kernel_size"],) * 2,
        strides=(v["stride"],) * 2,
        padding=v["padding"],
        use_bias=v["use_bias"],
        dtype=v["dtype"],
        param_dtype=v["dtype"],
    )
    return Built(Activated(layer, v["activation"]), (feature_map(v),))


def _transpose_size(v: Mapping[str, np.ndarray]) -> Any:
    size, kernel, stride = v["input_size"], v["kernel_size"], v["stride"]
    beyond = where(is_same(v["padding"]), 0.0, np.maximum(kernel - stride, 0))
    return size * stride + beyond


def _count_transpose(v: Mapping[str, np.ndarray]) -> Cost:
    """Each input meets the whole kernel; what "SAME" cuts off at the edges is counted too."""
    item, bias = item_bytes(v["dtype"]), is_on(v["use_bias"])
    inputs = v["batch_size"] * v["input_size"] ** 2 * v["in_channels"]
    outputs = v["batch_size"] * _transpose_size(v) ** 2 * v["out_channels"]
    weights = v["kernel_size"] ** 2 * v["in_channels"] * v["out_channels"]
    after = outputs * (bias + activation_flops(v["activation"]))
    return Cost(
        flops=2 * inputs * v["kernel_size"] ** 2 * v["out_channels"] + after,
        input_bytes=inputs * item,
        weight_bytes=(weights + bias * v["out_channels"]) * item,
        output_bytes=outputs * item,
    )


def _transpose_work(v: Mapping[str, np.ndarray]) -> Any:
    """The zeros that a stride puts between inputs are multiplied like them."""
    patch = v["kernel_size"] ** 2 * v["in_channels"]
    return product_work(v["batch_size"], _transpose_size(v), patch, v["out_channels"])


SPATIAL = (INPUT_SIZE, IN_CHANNELS)
KERNEL = (KERNEL_SIZE, STRIDE, PADDING)

CONV2D = register(
    ModuleKind(
        "conv2d",
        (*SPATIAL, OUT_CHANNELS, *KERNEL, DILATION, GROUPS, ACTIVATION, USE_BIAS),
        _make_conv,
        _count_conv,
        conv_fits,
        conv_work,
    )
)
DEPTHWISE = register(
    ModuleKind(
        "depthwise_conv2d",
        (*SPATIAL, MULTIPLIER, *KERNEL, DILATION, ACTIVATION, USE_BIAS),
        lambda v: _make_conv(depthwise(v)),
        lambda v: _count_conv(depthwise(v)),
        lambda v: conv_fits(depthwise(v)),
        lambda v: conv_work(depthwise(v)),
    )
)
TRANSPOSE = register(
    ModuleKind(
        "conv_transpose2d",
        (*SPATIAL, OUT_CHANNELS, *KERNEL, ACTIVATION, USE_BIAS),
        _make_transpose,
        _count_transpose,
        work=_transpose_work,
    )
)
