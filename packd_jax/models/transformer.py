"""A pre-norm transformer encoder over the accesses (as TransFetch and DART use)."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax

from packd_jax.config import ModelConfig
from packd_jax.models.inputs import InputSpec, WindowEncoder
from packd_jax.models.layers import Dense, LayerNorm, fan_in_normal, gelu

MLP_EXPANSION = 4


class EncoderBlock(nn.Module):
    """Self-attention and an MLP, both behind a LayerNorm and around a residual."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, L, C] -> f32[B, L, C]"""
        y = LayerNorm(name="attention_norm")(x)
        x = x + nn.MultiHeadDotProductAttention(
            num_heads=self.heads, kernel_init=fan_in_normal, name="attention"
        )(y)
        y = LayerNorm(name="mlp_norm")(x)
        y = gelu(Dense(MLP_EXPANSION * x.shape[-1], name="mlp_in")(y))
        return x + Dense(x.shape[-1], name="mlp_out")(y)


class Transformer(nn.Module):
    """`depth` blocks of dimension `width`, learnt positions; the current access predicts."""

    config: ModelConfig
    spec: InputSpec

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        x = WindowEncoder(self.config, self.spec, name="encoder").sequence(inputs)
        x = Dense(self.config.width, name="embed")(x)
        positions = self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        x = x + positions[None]
        for block in range(self.config.depth):
            x = EncoderBlock(self.config.heads, name=f"block_{block}")(x)
        x = LayerNorm(name="norm")(x[:, -1])
        return Dense(self.spec.label_bits, name="output")(x)
