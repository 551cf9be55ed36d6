"""MLP-Mixers (Tolstikhin et al. 2021): over the accesses, and the authors' with one token."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from packd_jax.config import ModelConfig
from packd_jax.models.inputs import InputSpec, WindowEncoder
from packd_jax.models.layers import Dense, LayerNorm, fan_in_normal, gelu


class TokenDense(nn.Module):
    """A dense layer along the token axis."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, T, C] -> f32[B, features, C]"""
        kernel = self.param("kernel", fan_in_normal, (x.shape[1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.einsum("btc,tf->bfc", x, kernel) + bias[None, :, None]


class MixerBlock(nn.Module):
    """Tokens mix, then channels; both behind a LayerNorm and around a residual."""

    token_hidden: int
    channel_hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, T, C] -> f32[B, T, C]"""
        y = LayerNorm(name="token_norm")(x)
        y = gelu(TokenDense(self.token_hidden, name="token_in")(y))
        x = x + TokenDense(x.shape[1], name="token_out")(y)
        y = LayerNorm(name="channel_norm")(x)
        y = gelu(Dense(self.channel_hidden, name="channel_in")(y))
        return x + Dense(x.shape[2], name="channel_out")(y)


class Mixer(nn.Module):
    """`depth` blocks of dimension `width`; tokens are accesses, or with `flat` the one window.

    Hidden sizes: width // 2 for channels; for tokens twice their number, at least 4.
    """

    config: ModelConfig
    spec: InputSpec
    flat: bool = False

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        encoder = WindowEncoder(self.config, self.spec, name="encoder")
        x = encoder.flat(inputs)[:, None] if self.flat else encoder.sequence(inputs)
        x = Dense(self.config.width, name="embed")(x)
        for block in range(self.config.depth):
            sizes = max(4, 2 * x.shape[1]), max(1, self.config.width // 2)
            x = MixerBlock(*sizes, name=f"block_{block}")(x)
        x = LayerNorm(name="norm")(x).mean(axis=1)
        return Dense(self.spec.label_bits, name="output")(x)
