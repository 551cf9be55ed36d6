"""K networks as one stacked pytree: leaves have a leading axis [K]; init, apply, route."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Tree = Any
BATCH = 1024  # rows that evaluation hands to the device at once


def init(model: Any, seeds: np.ndarray, sample: Mapping[str, Array]) -> dict[str, Tree]:
    """Stacked variables {"params", "batch_stats"}, one network per seed (i32[K])."""
    return _make_init(model)(jnp.asarray(seeds), sample)


@functools.lru_cache(maxsize=64)
def _make_init(model: Any) -> Callable[..., dict[str, Tree]]:
    # One compilation: op by op, every shape of every layer would be one.
    def init_one(seed: Array, sample: Mapping[str, Array]) -> dict[str, Tree]:
        variables = model.init(jax.random.key(seed), sample, train=False)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    return jax.jit(jax.vmap(init_one, in_axes=(0, None)))


def apply_train(
    model: Any, params: Tree, batch_stats: Tree, inputs: Mapping[str, Array]
) -> tuple[Array, Tree]:
    """Logits `f32[B, D]` of one network in training mode, and its new batch statistics.

    It computes in `model.spec.dtype`; parameters and statistics are f32 whatever that is, so
    steps that bfloat16 could not tell apart still add up.
    """
    dtype = model.spec.dtype
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    if not batch_stats:
        logits = model.apply({"params": params}, inputs, train=True)
        return logits.astype(jnp.float32), batch_stats
    logits, updated = model.apply(
        {"params": params, "batch_stats": batch_stats}, inputs, train=True, mutable=["batch_stats"]
    )
    return logits.astype(jnp.float32), updated["batch_stats"]


@functools.lru_cache(maxsize=64)
def make_apply(model: Any, train_mode: bool = False) -> Callable[[Tree, Any], Array]:
    """Jitted `(stacked variables, inputs [B, ...]) -> logits f32[K, B, D]`.

    `train_mode` lets BatchNorm use the statistics of the batch, as the authors' teachers do
    when they distil; the running ones stay as they are.
    """

    def apply(variables: Tree, inputs: Mapping[str, Array]) -> Array:
        if train_mode:
            return apply_train(model, variables["params"], variables["batch_stats"], inputs)[0]
        return model.apply(variables, inputs, train=False)

    return jax.jit(jax.vmap(apply, in_axes=(0, None)))


def predict(
    model: Any, variables: Tree, inputs: Mapping[str, np.ndarray], train_mode: bool = False
) -> Iterator[tuple[slice, np.ndarray]]:
    """Logits of all K networks, batch after batch: (rows, f32[K, rows, D]) on the host."""
    apply = make_apply(model, train_mode)
    total = len(next(iter(inputs.values())))
    # Few sizes, so few compilations; but repeated rows would bias the statistics of a batch.
    size = min(BATCH, total if train_mode else 1 << (total - 1).bit_length())
    for start in range(0, total, size or 1):
        rows = slice(start, min(start + size, total))
        # One shape for every batch: the last one is filled up with the rows before it.
        filled = np.arange(rows.stop - size, rows.stop) % total
        batch = {name: values[filled] for name, values in inputs.items()}
        yield rows, np.asarray(apply(variables, batch))[:, rows.start - rows.stop :]


def route(
    model: Any,
    variables: Tree,
    inputs: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    train_mode: bool = False,
) -> np.ndarray:
    """Logits `f32[N, D]` of the teacher of each row's own cluster (`cluster` u8[N]).

    Each teacher is asked for its own rows alone, so K teachers cost what one does.
    """
    logits = None
    for k in np.unique(cluster):
        own = np.flatnonzero(cluster == k)
        one = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], variables)
        part = {name: values[own] for name, values in inputs.items()}
        for rows, values in predict(model, one, part, train_mode):
            if logits is None:
                logits = np.empty((len(cluster), values.shape[2]), np.float32)
            logits[own[rows]] = values[0]
    if logits is None:
        raise ValueError("no rows to route: expected at least one")
    return logits
