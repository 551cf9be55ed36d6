"""LSTMs: over the accesses of a window, and the authors' over the flattened window."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from packd_jax.config import ModelConfig
from packd_jax.models.inputs import InputSpec, WindowEncoder
from packd_jax.models.layers import Dense, fan_in_normal


class LSTMLayer(nn.Module):
    """One LSTM layer from a zero state, with one bias per gate (PyTorch has two, which add up).

    Gates lie in the order forget, input, cell, output along the last axis of both kernels.
    """

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x f32[T, B, F], time first -> hidden states f32[T, B, width]"""
        kernel = self.param("kernel", fan_in_normal, (x.shape[-1], 4 * self.width))
        recurrent = self.param("recurrent", fan_in_normal, (self.width, 4 * self.width))
        bias = self.param("bias", nn.initializers.zeros, (4 * self.width,))

        def step(
            state: tuple[jax.Array, jax.Array], z: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, cell = state
            f, i, g, o = jnp.split(z + hidden @ recurrent, 4, axis=-1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            hidden = nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        # The zero state has neither a recurrent term nor a cell to forget.
        first = x[0] @ kernel[:, self.width :] + bias[None, self.width :]
        i, g, o = jnp.split(first, 3, axis=-1)
        cell = nn.sigmoid(i) * jnp.tanh(g)
        hidden = nn.sigmoid(o) * jnp.tanh(cell)
        if len(x) == 1:
            return hidden[None]
        z = x[1:] @ kernel + bias[None, None]
        _, rest = jax.lax.scan(step, (hidden, cell), z)
        return jnp.concatenate([hidden[None], rest])


class LSTM(nn.Module):
    """`depth` layers over the L accesses; the last state predicts."""

    config: ModelConfig
    spec: InputSpec

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        x = WindowEncoder(self.config, self.spec, name="encoder").sequence(inputs)
        x = jnp.swapaxes(x, 0, 1)
        for layer in range(self.config.depth):
            x = LSTMLayer(self.config.width, name=f"layer_{layer}")(x)
        return Dense(self.spec.label_bits, name="output")(x[-1])


class FlatLSTM(nn.Module):
    """The authors' LSTM: the whole window is one time step, so the recurrent kernels are idle.

    Their code leaves out PyTorch's `batch_first`; `along_batch` does what it then does: the
    rows of a batch are the time steps of one sequence.
    """

    config: ModelConfig
    spec: InputSpec
    along_batch: bool = False

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        x = WindowEncoder(self.config, self.spec, name="encoder").flat(inputs)
        x = x[:, None] if self.along_batch else x[None]
        for layer in range(self.config.depth):
            x = LSTMLayer(self.config.width, name=f"layer_{layer}")(x)
        x = x[:, 0] if self.along_batch else x[0]
        return Dense(self.spec.label_bits, name="output")(x)
