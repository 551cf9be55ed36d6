"""Training of MEDN: all members and all kinds in one jitted scan, rows balanced over the kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from latency_jax.medn import Medn, MednConfig

Params = dict[str, Any]
_MEAN_RATE = 0.005  # of the exponential mean of the parameters, which is what predicts
_MEAN_START = 9.0  # over steps + 10, while that is the higher rate: early steps are soon forgotten


class Rows(NamedTuple):
    """What one kind has to learn from."""

    features: np.ndarray  # f32[N, F], standardised
    target: np.ndarray  # f32[N], standardised log latency
    sizes: int  # how many of the first features waves are made of


class Stacked(NamedTuple):
    """Rows of all kinds, padded with zeros to equal rows and features."""

    features: Array  # f32[K, N, F]
    target: Array  # f32[K, N]
    counts: Array  # i32[K], rows that are no padding


class State(NamedTuple):
    """What a step carries, with a leading axis of members."""

    params: Params
    moments: optax.OptState
    mean: Params


class Fitted(NamedTuple):
    """Parameters f32[members, ...] and the mean error of the members at each look."""

    params: dict[str, np.ndarray]
    looks: list[float]


def fit(
    train: Sequence[Rows],
    validation: Sequence[Rows],
    config: MednConfig,
    seed: int,
    looks: int = 20,
) -> Fitted:
    """Trains `config.members` networks; each keeps its parameters of its best look.

    A look is the mean absolute error on validation, averaged over kinds. Every kind gives as many
    rows to a step as every other, and a step's rows follow from the seed, the member and its
    number. Steps are rounded up to a multiple of `looks`.
    """
    if not train or len(train) != len(validation):
        raise ValueError(f"rows of {len(train)} and {len(validation)} kinds: expected the same")
    inputs, sizes = zip(*((rows.features.shape[1], rows.sizes) for rows in train))
    net = Medn(inputs, sizes, config)
    rows, checks = stacked(train), stacked(validation)
    optimiser = _optimiser(config)

    def start(key: Array) -> State:
        params = net.init(key, checks.features[:, :1])["params"]
        return State(params, optimiser.init(params), params)

    keys = jax.random.split(jax.random.key(seed), config.members)
    state = jax.vmap(start)(keys)
    run = make_run(net, optimiser, rows, -(-config.steps // looks))
    look = jax.jit(partial(jax.lax.map, lambda params: latency_error(net, params, checks)))
    best = np.full(config.members, np.inf)
    kept = jax.tree.map(np.asarray, state.params)
    errors = []
    for number in range(looks):
        state = run(state, keys, number)
        error = np.asarray(look(state.mean))
        better = error < best  # never where it is NaN
        best = np.where(better, error, best)
        kept = _replaced(kept, state.mean, better)
        errors.append(float(error.mean()))
    return Fitted(kept, errors)


def stacked(kinds: Sequence[Rows]) -> Stacked:
    """Kinds of different numbers of rows and features as one array of each."""
    counts = [len(rows.target) for rows in kinds]
    inputs = max(rows.features.shape[1] for rows in kinds)
    features = np.zeros((len(kinds), max(counts), inputs), np.float32)
    target = np.zeros((len(kinds), max(counts)), np.float32)
    for k, rows in enumerate(kinds):
        features[k, : counts[k], : rows.features.shape[1]] = rows.features
        target[k, : counts[k]] = rows.target
    return Stacked(jnp.asarray(features), jnp.asarray(target), jnp.asarray(counts))


def latency_error(net: Medn, params: Params, rows: Stacked) -> Array:
    """f32[]: mean absolute error of the standardised log latency, the same weight to every kind."""
    outputs = cast(Array, net.apply({"params": params}, rows.features))
    error = jnp.abs(outputs[..., 0] - rows.target)
    is_row = jnp.arange(error.shape[1])[None] < rows.counts[:, None]
    return (jnp.where(is_row, error, 0).sum(axis=1) / rows.counts).mean()


def loss(net: Medn, params: Params, features: Array, target: Array) -> Array:
    """f32[] of features f32[K, B, F] and target f32[K, B], and of what is reconstructed."""
    outputs = cast(Array, net.apply({"params": params}, features))
    error = jnp.abs(outputs[..., 0] - target).mean()
    if not net.config.reconstruct:
        return error
    return error + net.config.reconstruct * jnp.square(outputs[..., 1:] - features).mean()


def make_run(
    net: Medn, optimiser: optax.GradientTransformation, rows: Stacked, steps: int
) -> Callable[[State, Array, int], State]:
    """(state, keys of the members, n) -> the state after the n-th `steps` steps."""

    def step(state: State, key: Array, number: Array) -> State:
        shape = (len(net.inputs), net.config.batch_size)
        drawn = jax.random.randint(key, shape, 0, rows.counts[:, None])
        features = jnp.take_along_axis(rows.features, drawn[..., None], axis=1)
        target = jnp.take_along_axis(rows.target, drawn, axis=1)
        grads = jax.grad(lambda params: loss(net, params, features, target))(state.params)
        updates, moments = optimiser.update(grads, state.moments, state.params)
        params = optax.apply_updates(state.params, updates)
        rate = jnp.maximum(_MEAN_RATE, _MEAN_START / (number + 10))
        mean = jax.tree.map(lambda new, old: old + rate * (new - old), params, state.mean)
        return State(params, moments, mean)

    @jax.jit
    def run(state: State, keys: Array, number: Array) -> State:
        def body(state: State, step_number: Array) -> tuple[State, None]:
            step_keys = jax.vmap(lambda key: jax.random.fold_in(key, step_number))(keys)
            return jax.vmap(step, in_axes=(0, 0, None))(state, step_keys, step_number), None

        return jax.lax.scan(body, state, number * steps + jnp.arange(steps))[0]

    return run


def _optimiser(config: MednConfig) -> optax.GradientTransformation:
    warmup = min(config.warmup_steps, config.steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, config.steps)
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.weight_decay)
    )


def _replaced(old: Params, new: Params, better: np.ndarray) -> Params:
    """The members that are better from the new parameters, the others from the old."""

    def choose(old_leaf: np.ndarray, new_leaf: Array) -> np.ndarray:
        chosen = better.reshape(-1, *[1] * (old_leaf.ndim - 1))
        return np.where(chosen, np.asarray(new_leaf), old_leaf)

    return jax.tree.map(choose, old, new)
