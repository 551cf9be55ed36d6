"""Losses of one example: pure functions of `[D]` bits, batched by `vmap`, reduced by the caller."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def unpack_bits(packed: Array) -> Array:
    """Packed labels `u8[..., D/8]` as `f32[..., D]` zeros and ones, on the device."""
    shifts = jnp.arange(8, dtype=jnp.uint8).reshape(*[1] * packed.ndim, 8)
    bits = (packed[..., None] >> shifts) & jnp.uint8(1)
    return bits.reshape(*packed.shape[:-1], -1).astype(jnp.float32)


def _check(name: str, value: Array, logits: Array) -> None:
    if value.shape != logits.shape:
        raise ValueError(f"{name} {value.shape} and logits {logits.shape}: expected equal shapes")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name} are {value.dtype}: expected floats (see unpack_bits)")


def _softplus(logits: Array) -> Array:
    # Selects, not maximum and abs: their gradients at 0 would add up to 0 instead of 1/2.
    positive = logits >= 0
    size = jnp.where(positive, logits, -logits)
    return jnp.where(positive, logits, 0.0) + jnp.log1p(jnp.exp(-size))


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Binary cross-entropy of each bit, `f32[D]`: targets are probabilities `f32[D]`.

    -t log sigmoid(s) - (1 - t) log sigmoid(-s), written as softplus(s) - t s.
    """
    _check("targets", targets, logits)
    return _softplus(logits) - targets * logits


def soft_loss(logits: Array, soft_targets: Array, temperature: float) -> Array:
    """KL(sigmoid(t / T) || sigmoid(s / T)) of each bit, `f32[D]`.

    `soft_targets` are the teacher's softened probabilities sigmoid(t / T), `f32[D]`.
    """
    _check("soft_targets", soft_targets, logits)
    entropy = jax.scipy.special.entr(soft_targets) + jax.scipy.special.entr(1 - soft_targets)
    return cross_entropy(logits / temperature, soft_targets) - entropy


def distillation_loss(
    logits: Array,
    labels: Array,
    soft_targets: Array,
    alpha: Array | float,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
) -> Array:
    """PaCKD's loss of one example, a scalar: the mean over its bits of

        alpha * BCE(student, label) + (1 - alpha) * w * KL(sigmoid(t/T) || sigmoid(s/T)).

    Args:
      logits: student's, `f32[D]`.
      labels: `f32[D]`.
      soft_targets: sigmoid(t / T) of the teacher of the example's own cluster, `f32[D]`.
      alpha: weight of the **hard** loss, scalar; 1 is no distillation.
      temperature: T, a Python number.
      soft_weight: w; 1 in the paper, T**2 after Hinton et al. (2015), 1/2 in the authors' code.
    """
    hard = cross_entropy(logits, labels).mean()
    soft = soft_loss(logits, soft_targets, temperature).mean()
    return alpha * hard + (1 - alpha) * soft_weight * soft


def distillation_objective(
    logits: Array,
    labels: Array,
    soft_targets: Array,
    alpha: Array | float,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
) -> Array:
    """`distillation_loss` up to a term that no student can change: the same gradients, cheaper.

    Cross-entropy is linear in its targets, so for T = 1 hard and soft loss are one
    cross-entropy against the blended target, at the price of training without a teacher.
    """
    if temperature == 1.0:
        _check("labels", labels, logits)
        _check("soft_targets", soft_targets, logits)
        soft_alpha = (1 - alpha) * soft_weight
        total = alpha + soft_alpha
        blended = alpha * labels + soft_alpha * soft_targets
        return (total * _softplus(logits) - blended * logits).mean()
    hard = cross_entropy(logits, labels).mean()
    soft = cross_entropy(logits / temperature, soft_targets).mean()
    return alpha * hard + (1 - alpha) * soft_weight * soft
