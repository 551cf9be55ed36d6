"""Training: many equal networks at once, each with its own rows, targets, rate and seed.

Teachers of K clusters and students of all arms and seeds are the same thing here, a stack of
runs with a leading axis [R] on every leaf: one program trains them all, step by step on the
device, and what differs between them is data.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from packd_jax import metrics
from packd_jax.batching import RowOrder
from packd_jax.checkpoints import restore_latest, save_latest
from packd_jax.config import ModelConfig, TrainConfig
from packd_jax.evaluation import evaluate
from packd_jax.features import Examples
from packd_jax.train_step import (
    Batch,
    TrainState,
    init_state,
    make_train_step,
    rate_factor,
)

CHUNK = 64  # steps that one call runs at most; progress and interruption live between calls

Tree = Any


class Runs(NamedTuple):
    """What differs between the R runs of a stack."""

    seed: np.ndarray  # i32[R], of the initial parameters
    order: np.ndarray  # i32[R], which of the row orders a run follows
    learning_rate: np.ndarray  # f32[R]
    soft: np.ndarray | None = None  # i32[R], which soft targets a run learns from
    alpha: np.ndarray | None = None  # f32[R, K], weight of the hard loss by cluster


class Targets(NamedTuple):
    """Soft targets of U teacher sets for all N training rows, and whose teacher spoke."""

    values: Any  # float16 or uint8 [U, N, D]; on disk: U memory maps [N, D]
    cluster: np.ndarray | Array  # u8[U, N]
    on_disk: bool = False  # gather rows on the host instead of holding all on the device


class Info(NamedTuple):
    """What was seen on the way, a list entry or array element per evaluation."""

    step: list[int]
    loss: list[list[float]]  # [evaluations][R], mean objective since the last evaluation
    f1: list[list[float]]  # [evaluations][R], on validation, at the best threshold
    threshold_bin: list[list[int]]  # [evaluations][R]
    better: list[list[bool]]  # [evaluations][R], whether the run's best was reached here
    seconds: list[float]  # training alone, cumulative


class Fit(NamedTuple):
    """The best parameters of each run by validation, and how they were reached."""

    variables: Tree  # {"params": ..., "batch_stats": ...}, leaves [R, ...]
    f1: np.ndarray  # f64[R], on validation
    threshold_bin: np.ndarray  # i64[R]
    info: Info


@functools.lru_cache(maxsize=64)
def make_advance(
    model: Any, temperature: float, soft_weight: float, schedule: str, execution: str
) -> Callable[..., tuple[TrainState, Array]]:
    """A function that advances a whole stack by `count` steps; see its docstring.

    `execution` "scan" loops on the device, "loop" calls one compiled step at a time: the
    same mathematics, whichever the platform runs faster.
    """
    train_step = _stacked(make_train_step(model, temperature, soft_weight))

    def one(carry, runs, data, targets, rows, soft_rows, total, warmup, i):
        # rows, soft_rows: i32[orders, CHUNK, B]
        state, summed = carry
        rows, soft_rows = rows[:, i][runs.order], soft_rows[:, i][runs.order]
        inputs, labels = jax.tree.map(lambda values: values[rows], data)
        soft = alpha = None
        if targets is not None:
            soft = jax.vmap(lambda u, r: targets.values[u, r])(runs.soft, soft_rows)
            cluster = jax.vmap(lambda u, r: targets.cluster[u, r])(runs.soft, soft_rows)
            alpha = jax.vmap(lambda a, c: a[c])(runs.alpha, cluster)
        rate = runs.learning_rate * rate_factor(state.step, total, warmup, schedule)
        state, loss = train_step(state, rate, Batch(inputs, labels, soft, alpha))
        return state, summed + loss

    def advance(state, runs, data, targets, rows, soft_rows, total, warmup, count):
        """Advances all runs by `count` <= CHUNK steps: (state, summed loss f32[R])."""

        def body(i, carry):
            return one(carry, runs, data, targets, rows, soft_rows, total, warmup, i)

        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros(len(runs.order))))

    if execution == "scan":
        return jax.jit(advance, donate_argnums=0)
    jitted = jax.jit(one, donate_argnums=0)

    def advance_by_calls(state, runs, *operands):
        *args, count = operands
        carry = state, jnp.zeros(len(runs.order))
        for i in range(int(count)):
            # Nothing else is dispatched between steps: for small networks it would cost as much.
            carry = jitted(carry, runs, *args, np.int32(i))
        return carry

    return advance_by_calls


def _stacked(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step of one run for a stack of them."""

    def call(state: TrainState, rate: Array, batch: Batch) -> tuple[TrainState, Array]:
        if len(rate) > 1:
            return jax.vmap(step)(state, rate, batch)
        # The axis of a single run cost the Mixer teacher 8 % of its speed on a CPU.
        alone = jax.tree.map(lambda leaf: leaf[0], (state, rate, batch))
        return jax.tree.map(lambda leaf: leaf[None], step(*alone))

    return call


def choose_execution(config: TrainConfig, network: ModelConfig) -> str:
    """ "scan" or "loop": as configured, or what was measured faster for the family."""
    return "scan" if config.execution == "auto" else config.execution


def fit(
    model: Any,
    train: Examples,
    runs: Runs,
    orders: Sequence[RowOrder],
    validation: Examples,
    config: TrainConfig,
    *,
    validation_rows: Sequence[np.ndarray] | None = None,
    targets: Targets | None = None,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    execution: str = "scan",
    directory: str | PathLike | None = None,
    progress: Callable[..., None] | None = None,
) -> Fit:
    """Trains a stack of R runs for `config.steps` steps and keeps each run's best evaluation.

    Args:
      model: a network from `build_model`.
      train, validation: encoded splits; rows are drawn by `orders`, batches of
        `config.batch_size`.
      runs: what differs between the runs.
      validation_rows: rows by run if a run is judged on a part of `validation` (a cluster).
      targets: soft targets that `runs.soft` and `runs.alpha` speak of; None trains on labels.
      temperature, soft_weight: see `losses.distillation_loss`.
      directory: where to keep the latest state; training goes on from what is found there
        and ends with the same bits as without the interruption.
      progress: called with (steps done, loss=mean loss).
    """
    sample = {name: jnp.asarray(values[:1]) for name, values in train.inputs.items()}
    state = init_state(model, runs.seed, sample)
    # A copy: the state's buffers are donated to the first step.
    best = _copy({"params": state.params, "batch_stats": state.batch_stats})
    info = Info([], [], [], [], [], [])
    if directory is not None:
        found = restore_latest(directory, {"state": state, "best": best})
        if found is not None:
            _, tree, meta = found
            state, best = jax.tree.map(jnp.asarray, (tree["state"], tree["best"]))
            info = Info(**meta["info"])
    step = info.step[-1] if info.step else 0
    if step >= config.steps:
        return _result(best, info)

    data = jax.tree.map(jnp.asarray, (train.inputs, train.labels))
    device_runs = jax.tree.map(jnp.asarray, runs)
    held = None if targets is None or targets.on_disk else jax.tree.map(jnp.asarray, targets[:2])
    held = Targets(*held) if held else None
    advance = make_advance(model, temperature, soft_weight, config.schedule, execution)
    total, warmup = jnp.float32(config.steps), jnp.float32(config.warmup_steps)
    stops = np.unique(np.linspace(0, config.steps, config.evaluations + 1).round().astype(int))
    for stop in stops[stops > step]:
        started, since = time.perf_counter(), step
        loss = np.zeros(len(runs.seed))
        while step < stop:
            count = min(CHUNK, int(stop) - step)
            rows = np.stack([order.steps(step, CHUNK, config.batch_size) for order in orders])
            soft_rows, near = rows, held
            if targets is not None and targets.on_disk:
                near, soft_rows = _gather(targets, rows)
            drawn = jnp.asarray(rows), jnp.asarray(soft_rows)
            state, more = advance(
                state, device_runs, data, near, *drawn, total, warmup, jnp.int32(count)
            )
            step, loss = step + count, loss + np.asarray(more, np.float64)
            if progress is not None:
                progress(step, loss=float(np.mean(more)) / count)
        seconds = time.perf_counter() - started + (info.seconds[-1] if info.seconds else 0.0)
        now = {"params": state.params, "batch_stats": state.batch_stats}
        histogram = evaluate(model, now, validation, validation_rows)
        curves = [histogram.run(r) for r in range(len(runs.seed))]
        bins = [metrics.best_threshold(h) for h in curves]
        f1 = [metrics.score_at(h, b).f1 for h, b in zip(curves, bins)]
        better = _improves(info, f1, config.patience)
        best = _select(jnp.asarray(better), now, best)
        seen = (step, (loss / (step - since)).tolist(), f1, bins, better.tolist(), seconds)
        columns: tuple[list, ...] = info
        for column, value in zip(columns, seen):
            column.append(value)
        if directory is not None:
            save_latest(directory, step, {"state": state, "best": best}, {"info": info._asdict()})
    return _result(best, info)


def _gather(targets: Targets, rows: np.ndarray) -> tuple[Targets, np.ndarray]:
    """The soft targets that a chunk needs, read from disk, and where its rows now are."""
    unique, places = np.unique(rows, return_inverse=True)
    # One shape for every chunk, or each would be compiled anew.
    padded = np.resize(unique, rows.size)
    values = np.stack([one[padded] for one in targets.values])
    near = Targets(jnp.asarray(values), jnp.asarray(targets.cluster[:, padded]))
    return near, places.reshape(rows.shape).astype(np.int32)


def _chosen(info: Info) -> np.ndarray:
    """The evaluation whose parameters are a run's best, i64[R]."""
    better = np.asarray(info.better)
    return len(better) - 1 - np.argmax(better[::-1], axis=0)


def _improves(info: Info, f1: list[float], patience: int) -> np.ndarray:
    """Which runs reach a new best now, bool[R]; a run out of patience never does again."""
    if not info.f1:
        return np.ones(len(f1), np.bool_)
    chosen = _chosen(info)
    better = np.asarray(f1) > np.asarray(info.f1)[chosen, np.arange(len(f1))]
    if patience:
        better &= len(info.f1) - 1 - chosen < patience
    return better


@jax.jit
def _copy(tree: Tree) -> Tree:
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def _select(better: Array, new: Tree, old: Tree) -> Tree:
    """Leaf by leaf the new values of the runs that are better, the old ones elsewhere."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


def _result(best: Tree, info: Info) -> Fit:
    chosen, runs = _chosen(info), np.arange(len(info.f1[0]))
    f1, bins = np.asarray(info.f1), np.asarray(info.threshold_bin)
    return Fit(best, f1[chosen, runs], bins[chosen, runs], info)
