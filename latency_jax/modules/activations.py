"""Activations by name, and layers that end in one."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from latency_jax.modules.counting import TRANSCENDENTAL, looked_up

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "none": lambda x: x,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,
    "hard_swish": nn.hard_swish,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "silu": nn.silu,
    "gelu": nn.gelu,
}
FLOPS = {  # per element
    "none": 0,
    "relu": 1,
    "relu6": 2,
    "leaky_relu": 2,
    "hard_swish": 4,
    "sigmoid": 3 + TRANSCENDENTAL,
    "tanh": TRANSCENDENTAL,
    "silu": 4 + TRANSCENDENTAL,
    "gelu": 8 + TRANSCENDENTAL,
}


class Activated(nn.Module):
    """A layer, then the activation of that name."""

    layer: nn.Module
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](self.layer(x))


def activation_flops(activation: np.ndarray) -> np.ndarray:
    """FLOPs per element; in a column of numbers 0 is none, and anything else counts as one."""
    if activation.dtype.kind == "U":
        return looked_up("activation", activation, FLOPS)
    return (activation != 0) * 1.0
