"""MEDN: a multi-task encoder-decoder network for latencies, over the stacked kinds of a table.

Only the abstract of arXiv 2312.06440 fixes MEDN (multi-task, encoder-decoder, light and fast);
what is here is a reconstruction. Every module kind has an adapter from its own features into a
common space and a decoder head of its own; the encoder between is shared. "Multi-task" can also
mean one network whose heads are the latency and the inputs it was told: `reconstruct` adds that.
One kind, or `shared=False`, is a single-task MLP of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclass(frozen=True)
class MednConfig:
    """Sizes of a MEDN and how it is trained."""

    width: int = 64
    depth: int = 2  # residual blocks of the encoder
    frequencies: int = 6  # periodic features of each input; 0: the inputs alone
    embedding: int = 6  # numbers that each input becomes after its periodic features
    shared: bool = True  # one encoder for all kinds; False: an encoder for each
    reconstruct: float = 0.0  # weight of the second reading's loss; 0: a head for latency alone
    members: int = 1  # networks whose mean is the prediction
    steps: int = 12_000
    batch_size: int = 256  # rows of each kind in a step
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 300


class Medn(nn.Module):
    """Features f32[K, B, F], zero where a kind has fewer than F, to f32[K, B, 1 or 1 + F].

    Output 0 is the standardised log latency; the others, with `reconstruct`, the features.
    Parameters whose names begin with "block" are the encoder's: their leading axis is 1 where all
    kinds share it, else K, like that of all others.
    """

    inputs: tuple[int, ...]  # features of each of the K kinds
    config: MednConfig

    @nn.compact
    def __call__(self, features: Array) -> Array:
        kinds, rows, width = len(self.inputs), features.shape[1], self.config.width
        if features.shape[0] != kinds or features.shape[2] != max(self.inputs):
            raise ValueError(
                f"features {features.shape}: expected ({kinds}, rows, {max(self.inputs)})"
            )
        hidden = self._embedded(features) if self.config.frequencies else features
        hidden = nn.silu(self._dense("adapter", hidden, width))
        if self.config.shared:
            hidden = hidden.reshape(1, kinds * rows, width)
        for block in range(self.config.depth):
            inner = nn.silu(self._dense(f"block{block}_up", hidden, width))
            hidden = hidden + self._dense(f"block{block}_down", inner, width)
        hidden = nn.silu(hidden).reshape(kinds, rows, width)
        return self._dense("head", hidden, 1 + (max(self.inputs) if self.config.reconstruct else 0))

    def _embedded(self, features: Array) -> Array:
        """f32[K, B, F * embedding], zero for the inputs that a kind has not.

        Latencies jump where a tile or a vector fills up, which waves of an input can follow:
        Gorishniy et al., arXiv 2203.05556, section 3.3.
        """
        kinds, rows, inputs = features.shape
        count, size = self.config.frequencies, self.config.embedding
        shape = (kinds, inputs, count)
        frequencies = self.param("frequencies", nn.initializers.normal(0.2 * 2 * np.pi), shape)
        angles = features[..., None] * frequencies[:, None]
        waves = jnp.concatenate([features[..., None], jnp.sin(angles), jnp.cos(angles)], axis=-1)
        init = nn.initializers.lecun_normal(batch_axis=(0, 1))
        mix = self.param("mix", init, (kinds, inputs, 1 + 2 * count, size))
        embedded = nn.relu(jnp.einsum("kbfw,kfwe->kbfe", waves, mix))
        has = np.arange(inputs) < np.array(self.inputs)[:, None]
        embedded *= has[:, None, :, None]
        return embedded.reshape(kinds, rows, inputs * size)

    def _dense(self, name: str, x: Array, width: int) -> Array:
        groups, _, inputs = x.shape
        init = nn.initializers.lecun_normal(batch_axis=(0,))
        kernel = self.param(f"{name}_kernel", init, (groups, inputs, width))
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (groups, 1, width))
        return jnp.einsum("gbi,gio->gbo", x, kernel) + bias
