"""Normalisations over the last axis of `[batch_size, positions, features]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from latency_jax.modules.counting import LAYER_NORM, item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import FEATURES, POSITIONS

BATCH_NORM = 4  # FLOPs per element: difference, quotient, scale, offset


def batch_norm(v: Mapping[str, Any]) -> nn.BatchNorm:
    """The layer at inference, with running statistics (f32 in any dtype)."""
    return nn.BatchNorm(use_running_average=True, dtype=v["dtype"], param_dtype=v["dtype"])


def batch_norm_bytes(features: Any, dtype: np.ndarray) -> Any:
    """Bytes of scale and offset, and of mean and variance."""
    return features * (2 * item_bytes(dtype) + 2 * 4)


def layer_norm(v: Mapping[str, Any]) -> nn.LayerNorm:
    return nn.LayerNorm(dtype=v["dtype"], param_dtype=v["dtype"])


def _built(layer: nn.Module, v: Mapping[str, Any]) -> Built:
    return Built(layer, (shape(v, v["batch_size"], v["positions"], v["features"]),))


def _cost(v: Mapping[str, np.ndarray], flops: int, weight_bytes: Any) -> Cost:
    elements = v["batch_size"] * v["positions"] * v["features"]
    size = elements * item_bytes(v["dtype"])
    return Cost(flops * elements, size, weight_bytes, size)


BATCH_NORM_KIND = register(
    ModuleKind(
        "batch_norm",
        (POSITIONS, FEATURES),
        lambda v: _built(batch_norm(v), v),
        lambda v: _cost(v, BATCH_NORM, batch_norm_bytes(v["features"], v["dtype"])),
    )
)
LAYER_NORM_KIND = register(
    ModuleKind(
        "layer_norm",
        (POSITIONS, FEATURES),
        lambda v: _built(layer_norm(v), v),
        lambda v: _cost(v, LAYER_NORM, 2 * v["features"] * item_bytes(v["dtype"])),
    )
)
