"""Layers that families share, written for how XLA compiles and runs them on a CPU."""

from __future__ import annotations

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def unit_normal(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Standard normal values.

    XLA compiles every shape of draw anew, for half a second and more, which made initialisation
    slower than training: so draws are vectors, and few lengths of them.
    """
    count = math.prod(shape)
    length = max(1024, 1 << (count - 1).bit_length())
    return jax.random.normal(key, (length,), dtype)[:count].reshape(shape)


def fan_in_normal(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Normal values of variance 1 / fan-in; the last axis of `shape` is the layer's output."""
    return unit_normal(key, shape, dtype) / math.sqrt(math.prod(shape[:-1]))


Dense = partial(nn.Dense, kernel_init=fan_in_normal)
LayerNorm = partial(nn.LayerNorm, epsilon=1e-5)  # as PyTorch
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)  # PyTorch's momentum is 1 - ours
# Tokens beyond a table give NaN. Gathers beat one-hot products here, their gradients included.
Embedding = partial(nn.Embed, embedding_init=unit_normal)


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, as PyTorch's (by erf: XLA's erfc, which `jax.nn.gelu` uses, is slower)."""
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """2-D convolution, zero padded by k // 2 on every side, as one matrix product.

    XLA's CPU convolutions leave their fast path inside loops and when grouped, which is where
    `scan` and `vmap` put them; k * k shifted slices and a product stay fast everywhere.

    x f32[B, H, W, C], kernel f32[k, k, C, O] with odd k -> f32[B, ceil(H/s), ceil(W/s), O]
    """
    size, pad = kernel.shape[0], kernel.shape[0] // 2
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    shifted = [
        x[:, row : row + height : stride, column : column + width : stride]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


class Conv(nn.Module):
    """A square convolution without bias."""

    features: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """f32[B, H, W, C] -> f32[B, ceil(H / stride), ceil(W / stride), features]"""
        shape = (self.size, self.size, x.shape[-1], self.features)
        return convolve(x, self.param("kernel", fan_in_normal, shape), self.stride)
