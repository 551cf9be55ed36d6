"""A plain MLP over the whole window: with tokens, the smallest network that predicts well."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax

from packd_jax.config import ModelConfig
from packd_jax.models.inputs import InputSpec, WindowEncoder
from packd_jax.models.layers import Dense


class TokenMLP(nn.Module):
    """`depth` hidden layers of `width` units with ReLU on the flattened window."""

    config: ModelConfig
    spec: InputSpec

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        x = WindowEncoder(self.config, self.spec, name="encoder").flat(inputs)
        for layer in range(self.config.depth):
            x = nn.relu(Dense(self.config.width, name=f"hidden_{layer}")(x))
        return Dense(self.spec.label_bits, name="output")(x)
