"""ResNet-18 (He et al. 2016): 11,689,512 parameters, 1.8 G multiply-adds.

--model=experiments.models.resnet:resnet18 --input=1,224,224,3:float32
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax

BatchNorm = partial(nn.BatchNorm, use_running_average=True)


class ResidualBlock(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, self.features, use_bias=False)
        y = conv((3, 3), self.stride, padding=1)(x)
        y = conv((3, 3), padding=1)(nn.relu(BatchNorm()(y)))
        y = BatchNorm()(y)
        if x.shape != y.shape:
            x = BatchNorm()(conv((1, 1), self.stride)(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    blocks: tuple[int, ...]  # of each stage
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        x = nn.Conv(64, (7, 7), 2, padding=3, use_bias=False)(x)
        x = nn.relu(BatchNorm()(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = ResidualBlock(64 * 2**stage, 2 if stage and not block else 1)(x)
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


def resnet18() -> nn.Module:
    return ResNet((2, 2, 2, 2))
