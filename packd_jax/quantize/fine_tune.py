"""Quantisation-aware fine-tuning: the float network is trained to bear the rounding.

The forward pass rounds as the integers will; gradients pass through every rounding as if it
were not there (the straight-through estimator: Bengio et al. 2013, arXiv 1308.3432; Jacob et
al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from packd_jax.batching import RowOrder
from packd_jax.config import TrainConfig
from packd_jax.features import Examples
from packd_jax.models import InputSpec
from packd_jax.quantize.integer_student import (
    ACTIVATION_LIMIT,
    HIDDEN_BITS,
    TABLE_LIMIT,
    weight_limit,
)
from packd_jax.quantize.post_training import Scales
from packd_jax.quantize.token_network import TokenNetwork
from packd_jax.train import Runs, fit

FINE_TUNE = TrainConfig(steps=3000, learning_rate=1e-2, warmup_steps=20, evaluations=6)


class RoundedNetwork:
    """What `fit` takes for a model: starts at a trained network, rounds its weights in passing."""

    spec = InputSpec()  # training asks for its dtype alone: scales are made for float32

    def __init__(self, start: TokenNetwork, scales: Scales, weight_bits: int) -> None:
        self.start = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), start)
        self.scales = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), scales)
        hidden = [HIDDEN_BITS] * len(scales.hidden)
        self.weight_limits = [weight_limit(bits) for bits in (*hidden, weight_bits)]

    def init(self, key: Array, inputs: Mapping[str, Array], train: bool) -> dict[str, Any]:
        """The network to start at, whatever the key."""
        return {"params": jax.tree.map(jnp.asarray, self.start._asdict())}

    def apply(
        self, variables: Mapping[str, Any], inputs: Mapping[str, Array], train: bool
    ) -> Array:
        """Logits f32[B, D] of the network with everything rounded but the biases."""
        network = TokenNetwork(**variables["params"])
        parts, scales = [], []
        for name, table in network.tables.items():
            tokens = inputs[name].reshape(len(inputs[name]), -1)
            rounded = _round(table / self.scales.tables[name][None], -TABLE_LIMIT, TABLE_LIMIT)
            parts.append(rounded[tokens].reshape(len(tokens), -1))
            scales.append(np.tile(self.scales.tables[name], tokens.shape[1]))
        x, scale = jnp.concatenate(parts, axis=-1), np.concatenate(scales)
        layers = zip(network.kernels, network.biases, self.scales.kernels, self.weight_limits)
        for number, (kernel, bias, unit, limit) in enumerate(layers):
            weights = _round(kernel * (scale[:, None] / unit[None]), -limit, limit)
            x = (x @ weights) * unit[None] + bias[None]
            if number < len(self.scales.hidden):
                scale = self.scales.hidden[number]
                x = _round(jnp.clip(x / scale[None], 0, ACTIVATION_LIMIT), 0, ACTIVATION_LIMIT)
        return x


def _round(values: Array, low: int, high: int) -> Array:
    """Whole numbers from low to high, with the gradient of the values as they were.

    Without any for values beyond the limits, the largest weights could never shrink again.
    """
    rounded = jnp.clip(jnp.round(values), low, high)
    return values + jax.lax.stop_gradient(rounded - values)


def fine_tune(
    network: TokenNetwork,
    scales: Scales,
    train: Examples,
    validation: Examples,
    weight_bits: int,
    settings: TrainConfig,
) -> TokenNetwork:
    """The network after some steps with rounding; validation chooses among the evaluations."""
    rate = np.array([settings.learning_rate], np.float32)
    runs = Runs(np.zeros(1, np.int32), np.zeros(1, np.int32), rate)
    order = RowOrder(np.arange(train.rows, dtype=np.int32), seed=0)
    model = RoundedNetwork(network, scales, weight_bits)
    best = fit(model, train, runs, [order], validation, settings).variables["params"]
    return TokenNetwork(**jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), best))
