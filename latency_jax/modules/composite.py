"""What XLA compiles into one kernel: a convolution, a batch norm and an activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax

from latency_jax.modules.activations import ACTIVATIONS, activation_flops
from latency_jax.modules.conv import (
    DILATION,
    GROUPS,
    KERNEL,
    MULTIPLIER,
    SPATIAL,
    conv,
    conv_cost,
    conv_fits,
    conv_work,
    depthwise,
    feature_map,
)
from latency_jax.modules.kind import Built, Cost, ModuleKind
from latency_jax.modules.norm import BATCH_NORM, batch_norm, batch_norm_bytes
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import ACTIVATION, OUT_CHANNELS

# "none" is the last convolution of a residual block, relu6 and silu are mobile networks'.
AFTER = replace(
    ACTIVATION, default="relu", choices=("relu", "relu", "relu", "relu6", "silu", "none")
)


class ConvBatchNorm(nn.Module):
    """A convolution without a bias, a batch norm at inference, and an activation."""

    conv: nn.Module
    norm: nn.Module
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](self.norm(self.conv(x)))


def _make(v: Mapping[str, Any]) -> Built:
    module = ConvBatchNorm(conv(v, use_bias=False), batch_norm(v), v["activation"])
    return Built(module, (feature_map(v),))


def _count(v: Mapping[str, Any]) -> Cost:
    cost = conv_cost(v, BATCH_NORM + activation_flops(v["activation"]), use_bias=0)
    norm = batch_norm_bytes(v["out_channels"], v["dtype"])
    return cost._replace(weight_bytes=cost.weight_bytes + norm)


CONV_BN_RELU = register(
    ModuleKind(
        "conv_bn_relu",
        (*SPATIAL, OUT_CHANNELS, *KERNEL, DILATION, GROUPS, AFTER),
        _make,
        _count,
        conv_fits,
        conv_work,
    )
)
DEPTHWISE_CONV_BN_RELU = register(
    ModuleKind(
        "depthwise_conv_bn_relu",
        (*SPATIAL, MULTIPLIER, *KERNEL, DILATION, AFTER),
        lambda v: _make(depthwise(v)),
        lambda v: _count(depthwise(v)),
        lambda v: conv_fits(depthwise(v)),
        lambda v: conv_work(depthwise(v)),
    )
)
