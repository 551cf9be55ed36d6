"""ViT-Tiny/16 (Dosovitskiy et al. 2021; Touvron et al. 2021), a small GPT (Radford et al. 2019) and
BERT-Mini (Devlin et al. 2019; Turc et al. 2019).

--model=experiments.models.transformers:vit_tiny --input=1,224,224,3:float32
    5,717,416 parameters, 1.3 G multiply-adds
--model=experiments.models.transformers:gpt_mini --input=1,128:int32
    6 blocks of 192 features over bytes, 2.7 M parameters
--model=experiments.models.transformers:bert_mini --input=1,128:int32
    4 blocks of 256 features over word pieces, 11,170,560 parameters
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Block(nn.Module):
    """Attention, then an MLP of four times the features, both normed and with a residual."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        features = x.shape[-1]
        attention = nn.MultiHeadDotProductAttention(self.heads, deterministic=True)
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        y = nn.gelu(nn.Dense(4 * features)(nn.LayerNorm()(x)))
        return x + nn.Dense(features)(y)


class ViT(nn.Module):
    features: int
    depth: int
    heads: int
    patch: int = 16
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        patch = (self.patch,) * 2
        x = nn.Conv(self.features, patch, patch, padding="VALID")(x)
        x = x.reshape(x.shape[0], -1, self.features)
        normal = nn.initializers.normal(0.02)
        first = self.param("class_token", normal, (1, 1, self.features))
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.features)), x], axis=1)
        x = x + self.param("positions", normal, (1, *x.shape[1:]))
        for _ in range(self.depth):
            x = Block(self.heads)(x)
        return nn.Dense(self.classes)(nn.LayerNorm()(x[:, 0]))


class GPT(nn.Module):
    """Predicts the next token of each; the output layer shares the table of the input."""

    features: int
    depth: int
    heads: int
    vocabulary: int
    context: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """i32[B, T] with T of at most `context` -> logits f32[B, T, vocabulary]"""
        embed = nn.Embed(self.vocabulary, self.features)
        positions = nn.Embed(self.context, self.features)(jnp.arange(tokens.shape[1]))
        x = embed(tokens) + positions[None]
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.depth):
            x = Block(self.heads)(x, mask)
        return embed.attend(nn.LayerNorm()(x))


class BERT(nn.Module):
    """The encoder and its pooler; a residual is normed after it is added."""

    features: int
    depth: int
    heads: int
    vocabulary: int = 30_522
    context: int = 512

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """i32[B, T] with T of at most `context` -> f32[B, features], all tokens of one segment"""
        x = nn.Embed(self.vocabulary, self.features)(tokens)
        x = x + nn.Embed(self.context, self.features)(jnp.arange(tokens.shape[1]))[None]
        x = x + nn.Embed(2, self.features)(jnp.zeros_like(tokens))
        x = nn.LayerNorm()(x)
        for _ in range(self.depth):
            x = nn.LayerNorm()(x + nn.MultiHeadDotProductAttention(self.heads)(x))
            y = nn.gelu(nn.Dense(4 * self.features)(x), approximate=False)
            x = nn.LayerNorm()(x + nn.Dense(self.features)(y))
        return nn.tanh(nn.Dense(self.features)(x[:, 0]))


def vit_tiny() -> nn.Module:
    return ViT(features=192, depth=12, heads=3)


def gpt_mini() -> nn.Module:
    return GPT(features=192, depth=6, heads=6, vocabulary=256, context=128)


def bert_mini() -> nn.Module:
    return BERT(features=256, depth=4, heads=4)
