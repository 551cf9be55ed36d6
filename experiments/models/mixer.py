"""MLP-Mixer-S/16 (Tolstikhin et al. 2021): 18,528,264 parameters, 3.8 G multiply-adds.

--model=experiments.models.mixer:mixer_s --input=1,224,224,3:float32
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Mlp(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.hidden)(x)))


class MixerBlock(nn.Module):
    tokens_hidden: int
    features_hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.swapaxes(nn.LayerNorm()(x), 1, 2)
        x = x + jnp.swapaxes(Mlp(self.tokens_hidden)(y), 1, 2)
        return x + Mlp(self.features_hidden)(nn.LayerNorm()(x))


class Mixer(nn.Module):
    features: int
    depth: int
    tokens_hidden: int
    features_hidden: int
    patch: int = 16
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        patch = (self.patch,) * 2
        x = nn.Conv(self.features, patch, patch, padding="VALID")(x)
        x = x.reshape(x.shape[0], -1, self.features)
        for _ in range(self.depth):
            x = MixerBlock(self.tokens_hidden, self.features_hidden)(x)
        return nn.Dense(self.classes)(nn.LayerNorm()(x).mean(axis=1))


def mixer_s() -> nn.Module:
    return Mixer(features=512, depth=8, tokens_hidden=256, features_hidden=2048)
