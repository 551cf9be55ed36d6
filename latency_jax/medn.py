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

    width: int = 48
    depth: int = 1  # residual blocks of the encoder
    frequencies: int = 8  # waves of each size; 0: none
    embedding: int = 6  # numbers that each size becomes after its waves
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

    The first features of a kind are its sizes: numbers that waves are made of.

    Output 0 is the standardised log latency; the others, with `reconstruct`, the features.
    Parameters whose names begin with "block" are the encoder's: their leading axis is 1 where all
    kinds share it, else K, like that of all others.
    """

    inputs: tuple[int, ...]  # features of each of the K kinds
    sizes: tuple[int, ...]  # how many of them are
    config: MednConfig

    @nn.compact
    def __call__(self, features: Array) -> Array:
        kinds, rows, width = len(self.inputs), features.shape[1], self.config.width
        if features.shape[0] != kinds or features.shape[2] != max(self.inputs):
            raise ValueError(
                f"features {features.shape}: expected ({kinds}, rows, {max(self.inputs)})"
            )
        features = features * _first(self.inputs, max(self.inputs))[:, None]
        if self.config.frequencies:
            features = jnp.concatenate([features, self._embedded(features)], axis=-1)
        hidden = nn.silu(self._dense("adapter", features, width))
        if self.config.shared:
            hidden = hidden.reshape(1, kinds * rows, width)
        for block in range(self.config.depth):
            inner = nn.silu(self._dense(f"block{block}_up", hidden, width))
            hidden = hidden + self._dense(f"block{block}_down", inner, width)
        hidden = nn.silu(hidden).reshape(kinds, rows, width)
        return self._dense("head", hidden, 1 + (max(self.inputs) if self.config.reconstruct else 0))

    def _embedded(self, features: Array) -> Array:
        """f32[K, B, S * embedding] of the sizes, zero for those that a kind has not.

        Latencies jump where a tile or a vector fills up, which waves of an input can follow:
        Gorishniy et al., arXiv 2203.05556, section 3.3.
        """
        kinds, rows, _ = features.shape
        most, count, width = max(self.sizes), self.config.frequencies, self.config.embedding
        sizes = features[..., :most, None]
        normal = nn.initializers.normal(0.2 * 2 * np.pi)
        angles = sizes * self.param("frequencies", normal, (kinds, most, count))[:, None]
        waves = jnp.concatenate([sizes, jnp.sin(angles), jnp.cos(angles)], axis=-1)
        init = nn.initializers.lecun_normal(batch_axis=(0, 1))
        mix = self.param("mix", init, (kinds, most, 1 + 2 * count, width))
        embedded = nn.relu(jnp.einsum("kbfw,kfwe->kbfe", waves, mix))
        embedded *= _first(self.sizes, most)[:, None, :, None]
        return embedded.reshape(kinds, rows, most * width)

    def _dense(self, name: str, x: Array, width: int) -> Array:
        groups, _, inputs = x.shape
        init = nn.initializers.lecun_normal(batch_axis=(0,))
        kernel = self.param(f"{name}_kernel", init, (groups, inputs, width))
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (groups, 1, width))
        return jnp.einsum("gbi,gio->gbo", x, kernel) + bias


def _first(counts: tuple[int, ...], most: int) -> np.ndarray:
    """bool[K, most]: the first of each kind."""
    return np.arange(most) < np.array(counts)[:, None]
