"""Pools over square feature maps, and the mean over all positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from latency_jax.modules.counting import item_bytes, output_size
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import (
    FEATURES,
    INPUT_SIZE,
    KERNEL_SIZE,
    PADDING,
    POSITIONS,
    STRIDE,
)

PARAMETERS = (
    INPUT_SIZE,
    replace(FEATURES, name="channels"),
    replace(KERNEL_SIZE, default=2, choices=(2, 2, 2, 3, 3, 3, 4, 5, 7)),
    replace(STRIDE, default=2, choices=(1, 2, 2, 2, 3, 4)),
    PADDING,
)


class Pool(nn.Module):
    pool: Callable[..., jax.Array]  # nn.max_pool or nn.avg_pool
    kernel_size: int
    stride: int
    padding: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pool(x, (self.kernel_size,) * 2, (self.stride,) * 2, self.padding)


class GlobalPool(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.mean(x, axis=1)


def _maker(pool: Callable[..., jax.Array]) -> Callable[[Mapping[str, Any]], Built]:
    def make(v: Mapping[str, Any]) -> Built:
        inputs = shape(v, v["batch_size"], v["input_size"], v["input_size"], v["channels"])
        return Built(Pool(pool, v["kernel_size"], v["stride"], v["padding"]), (inputs,))

    return make


def _count_pool(v: Mapping[str, np.ndarray]) -> Cost:
    examples = v["batch_size"] * v["channels"]
    item, outputs = item_bytes(v["dtype"]), examples * output_size(v) ** 2
    return Cost(
        flops=outputs * v["kernel_size"] ** 2,
        input_bytes=examples * v["input_size"] ** 2 * item,
        weight_bytes=0.0,
        output_bytes=outputs * item,
    )


def _count_global(v: Mapping[str, np.ndarray]) -> Cost:
    outputs, item = v["batch_size"] * v["features"], item_bytes(v["dtype"])
    return Cost(outputs * v["positions"], outputs * v["positions"] * item, 0.0, outputs * item)


def _fits(v: Mapping[str, Any]) -> bool:
    return v["kernel_size"] <= v["input_size"] or v["padding"] == "SAME"


def _work(v: Mapping[str, np.ndarray]) -> Any:
    return 80 * _count_pool(v).flops  # windows are plain loops


MAX_POOL = register(
    ModuleKind("max_pool", PARAMETERS, _maker(nn.max_pool), _count_pool, _fits, _work)
)
AVG_POOL = register(
    ModuleKind("avg_pool", PARAMETERS, _maker(nn.avg_pool), _count_pool, _fits, _work)
)
GLOBAL_POOL = register(
    ModuleKind(
        "global_pool",
        (replace(POSITIONS, default=49), FEATURES),
        lambda v: Built(GlobalPool(), (shape(v, v["batch_size"], v["positions"], v["features"]),)),
        _count_global,
    )
)
