"""Activation, softmax, addition and concatenation, over `[batch_size, positions, features]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from latency_jax.modules.activations import ACTIVATIONS, activation_flops
from latency_jax.modules.counting import SOFTMAX, item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import ACTIVATION, FEATURES, POSITIONS

OTHER_FEATURES = replace(FEATURES, name="other_features")


class Activation(nn.Module):
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](x)


class Softmax(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.softmax(x)


class Add(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


class Concat(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.concatenate([x, y], axis=-1)


def _input(v: Mapping[str, Any], features: str = "features") -> jax.ShapeDtypeStruct:
    return shape(v, v["batch_size"], v["positions"], v[features])


def _elementwise(v: Mapping[str, np.ndarray], flops: Any, inputs: int = 1) -> Cost:
    elements = v["batch_size"] * v["positions"] * v["features"]
    size = elements * item_bytes(v["dtype"])
    return Cost(elements * flops, inputs * size, 0.0, size)


def _count_concat(v: Mapping[str, np.ndarray]) -> Cost:
    features = v["features"] + v["other_features"]
    size = v["batch_size"] * v["positions"] * features * item_bytes(v["dtype"])
    return Cost(0.0, size, 0.0, size)


# Vector loops of one core reach far fewer FLOPs than matrix products do.
ACTIVATION_KIND = register(
    ModuleKind(
        "activation",
        (
            POSITIONS,
            FEATURES,
            replace(ACTIVATION, default="relu", choices=tuple(ACTIVATIONS)[1:]),
        ),
        lambda v: Built(Activation(v["activation"]), (_input(v),)),
        lambda v: _elementwise(v, activation_flops(v["activation"])),
    )
)
SOFTMAX_KIND = register(
    ModuleKind(
        "softmax",
        (POSITIONS, FEATURES),
        lambda v: Built(Softmax(), (_input(v),)),
        lambda v: _elementwise(v, SOFTMAX),
    )
)
ADD = register(
    ModuleKind(
        "add",
        (POSITIONS, FEATURES),
        lambda v: Built(Add(), (_input(v), _input(v))),
        lambda v: _elementwise(v, 1, inputs=2),
    )
)
CONCAT = register(
    ModuleKind(
        "concat",
        (POSITIONS, FEATURES, OTHER_FEATURES),
        lambda v: Built(Concat(), (_input(v), _input(v, "other_features"))),
        _count_concat,
    )
)
