"""Convolutional networks for images of 224 x 224, in the order of their years.

--model=experiments.models.convnets:vgg11 --input=1,224,224,3:float32
    (Simonyan & Zisserman 2015, A) 132,863,336 parameters, 7.6 G multiply-adds
--model=experiments.models.convnets:squeezenet
    (Iandola et al. 2016, version 1.1) 1,235,496 parameters, 0.35 G
--model=experiments.models.convnets:densenet121
    (Huang et al. 2017) 7,978,856 parameters, 2.8 G
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

VGG11_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLED_AFTER = (1, 3)  # of FIRES
DENSE_BLOCKS = (6, 12, 24, 16)
GROWTH = 32


def _conv(x: jax.Array, features: int, size: int, stride: int = 1) -> jax.Array:
    """With a bias and a ReLU."""
    return nn.relu(nn.Conv(features, (size,) * 2, stride, padding=size // 2)(x))


def _normed_conv(x: jax.Array, features: int, size: int) -> jax.Array:
    """Norm and ReLU come first."""
    x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
    return nn.Conv(features, (size,) * 2, padding=size // 2, use_bias=False)(x)


class VGG11(nn.Module):
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, 224, 224, 3] -> logits f32[B, classes]"""
        for stage in VGG11_STAGES:
            for features in stage:
                x = _conv(x, features, 3)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(4096)(x))
        return nn.Dense(self.classes)(x)


class SqueezeNet(nn.Module):
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        x = nn.relu(nn.Conv(64, (3, 3), 2, padding="VALID")(x))
        x = nn.max_pool(x, (3, 3), (2, 2))
        for position, (squeezed, expanded) in enumerate(FIRES):
            x = _conv(x, squeezed, 1)
            x = jnp.concatenate([_conv(x, expanded, 1), _conv(x, expanded, 3)], axis=-1)
            if position in POOLED_AFTER:
                x = nn.max_pool(x, (3, 3), (2, 2))
        return _conv(x, self.classes, 1).mean(axis=(1, 2))


class DenseNet121(nn.Module):
    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, 3] -> logits f32[B, classes]"""
        x = nn.Conv(2 * GROWTH, (7, 7), 2, padding=3, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for number, layers in enumerate(DENSE_BLOCKS):
            if number:
                x = _normed_conv(x, x.shape[-1] // 2, 1)
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for _ in range(layers):
                y = _normed_conv(_normed_conv(x, 4 * GROWTH, 1), GROWTH, 3)
                x = jnp.concatenate([x, y], axis=-1)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


def vgg11() -> nn.Module:
    return VGG11()


def squeezenet() -> nn.Module:
    return SqueezeNet()


def densenet121() -> nn.Module:
    return DenseNet121()
