"""One training step of one network: the state it carries, the batch it sees, the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from packd_jax import ensemble, losses

Tree = Any


@flax.struct.dataclass
class TrainState:
    """What one run carries from step to step; arrays only."""

    step: Array  # i32
    params: Tree
    batch_stats: Tree  # empty for models without BatchNorm
    opt_state: Tree


class Batch(NamedTuple):
    """What one step of one run sees; B rows."""

    inputs: dict[str, Array]
    labels: Array  # u8[B, D/8]
    soft: Array | None  # [B, D] softened teacher probabilities; None: train on labels alone
    alpha: Array | None  # f32[B], weight of the hard loss


def rate_factor(step: Array, total: Array, warmup: Array, schedule: str) -> Array:
    """Share of the learning rate at a step: linear warm-up, then cosine to zero or constant."""
    rise = jnp.minimum((step + 1) / jnp.maximum(warmup, 1), 1.0)
    if schedule == "constant":
        return rise
    done = jnp.clip((step - warmup) / jnp.maximum(total - warmup, 1), 0.0, 1.0)
    return rise * 0.5 * (1 + jnp.cos(jnp.pi * done))


def init_state(model: Any, seeds: np.ndarray, sample: dict[str, Array]) -> TrainState:
    """Fresh stacked state for `seeds` i32[R]; `sample` is any batch of inputs."""
    variables = ensemble.init(model, seeds, sample)
    opt_state = init_moments(variables["params"])
    step = jnp.zeros(len(seeds), jnp.int32)
    return TrainState(step, variables["params"], variables["batch_stats"], opt_state)


init_moments = jax.jit(jax.vmap(optax.scale_by_adam().init))


def make_train_step(
    model: Any, temperature: float = 1.0, soft_weight: float = 1.0
) -> Callable[[TrainState, Array, Batch], tuple[TrainState, Array]]:
    """A pure `(state, learning_rate, batch) -> (state, loss)` of one run, for jit and vmap."""

    def objective(params: Tree, batch_stats: Tree, batch: Batch) -> tuple[Array, Tree]:
        logits, new_stats = ensemble.apply_train(model, params, batch_stats, batch.inputs)
        labels = losses.unpack_bits(batch.labels)
        if batch.soft is None or batch.alpha is None:
            loss = losses.cross_entropy(logits, labels).mean()
        else:
            loss = jax.vmap(losses.distillation_objective, in_axes=(0, 0, 0, 0, None, None))(
                logits, labels, decode_soft(batch.soft), batch.alpha, temperature, soft_weight
            ).mean()
        return loss, new_stats

    def step(state: TrainState, learning_rate: Array, batch: Batch) -> tuple[TrainState, Array]:
        (loss, batch_stats), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, state.batch_stats, batch
        )
        updates, opt_state = optax.scale_by_adam().update(gradient, state.opt_state)
        params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state), loss

    return step


def decode_soft(values: Array) -> Array:
    """Stored soft targets (float16, or uint8 in 255ths) as f32 probabilities."""
    if values.dtype == jnp.uint8:
        return values.astype(jnp.float32) * (1 / 255)
    return values.astype(jnp.float32)
