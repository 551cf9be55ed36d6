"""MobileNetV2 (Sandler et al. 2018): 3,504,872 parameters, 0.3 G multiply-adds.

--model=experiments.models.mobilenet:mobilenet_v2 --input=1,224,224,3:float32
"""

from __future__ import annotations

import flax.linen as nn
import jax

# Expansion, features, blocks and first stride of each stage.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNorm(nn.Module):
    """A convolution and a batch norm, with ReLU6 where it is not the end of a block."""

    features: int
    size: int = 1
    stride: int = 1
    groups: int = 1
    is_activated: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(
            self.features,
            (self.size,) * 2,
            self.stride,
            padding=self.size // 2,
            feature_group_count=self.groups,
            use_bias=False,
        )(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.relu6(x) if self.is_activated else x


class InvertedResidual(nn.Module):
    expansion: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = x.shape[-1] * self.expansion
        y = ConvNorm(hidden)(x) if self.expansion > 1 else x
        y = ConvNorm(hidden, 3, self.stride, groups=hidden)(y)
        y = ConvNorm(self.features, is_activated=False)(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        x = ConvNorm(32, 3, 2)(x)
        for expansion, features, blocks, stride in STAGES:
            for block in range(blocks):
                x = InvertedResidual(expansion, features, 1 if block else stride)(x)
        x = ConvNorm(1280)(x)
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


def mobilenet_v2() -> nn.Module:
    return MobileNetV2()
