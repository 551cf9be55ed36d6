"""Training: many equal networks at once, each with its own rows, targets, rate and seed.

Teachers of K clusters and students of all arms and seeds are the same thing here, a stack of
runs with a leading axis [R] on every leaf: one program trains them all, step by step on the
device, and what differs between them is data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from packd_jax import metrics, processes
from packd_jax.advance import Runs, Targets, make_advance, place_soft
from packd_jax.batching import RowOrder, same_lanes
from packd_jax.checkpoints import describe_latest, restore_latest, save_latest
from packd_jax.config import ModelConfig, TrainConfig
from packd_jax.device_mesh import REPLICA, make_mesh, padded, place, sharding
from packd_jax.evaluation import evaluate
from packd_jax.example_source import ExampleSource
from packd_jax.feeding import make_feed
from packd_jax.train_step import init_state

CHUNK = 64  # steps that one call runs at most; progress and interruption live between calls
EPOCH_ROWS = 1 << 24  # that one call draws at most for "epoch": their numbers take 64 MB an order

Tree = Any


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


def choose_execution(config: TrainConfig, network: ModelConfig) -> str:
    """ "scan", "loop" or "epoch": as configured, or what suits the platform.

    On an accelerator all steps between two looks at validation are one program; on a CPU calls
    of `CHUNK` steps are as fast, and show progress.
    """
    if config.execution != "auto":
        return config.execution
    return "scan" if jax.default_backend() == "cpu" else "epoch"


def fit(
    model: Any,
    train: ExampleSource,
    runs: Runs,
    orders: Sequence[RowOrder],
    validation: ExampleSource,
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
    count, lanes = len(runs.seed), same_lanes(orders)
    mesh = make_mesh(count, config.batch_size, lanes)
    by_run, everywhere = sharding(mesh, REPLICA), sharding(mesh)
    # Runs that fill up the mesh repeat others, and nobody looks at them.
    filled = np.arange(padded(count, mesh)) % count
    sample = {k: jnp.asarray(v) for k, v in train.take(slice(0, 1)).inputs.items()}
    state = place(init_state(model, runs.seed[filled], sample), by_run)
    # A copy: the state's buffers are donated to the first step.
    best = _copy({"params": state.params, "batch_stats": state.batch_stats})
    info = Info([], [], [], [], [], [])
    if directory is not None:
        found = _restored(directory, {"state": state, "best": best}, filled, count)
        if found is not None:
            tree, meta = found
            state, best = place((tree["state"], tree["best"]), by_run)
            info = Info(**meta["info"])
    step = info.step[-1] if info.step else 0
    if step >= config.steps:
        return _result(best, info, count)

    stops = np.unique(np.linspace(0, config.steps, config.evaluations + 1).round().astype(int))
    chunk = CHUNK
    if execution == "epoch":
        chunk = min(int(np.diff(stops).max()), max(CHUNK, EPOCH_ROWS // config.batch_size))
    feed = make_feed(train, orders, config.batch_size, mesh)
    on_mesh = place(jax.tree.map(lambda leaf: leaf[filled], runs), by_run)
    held = None
    if targets is not None and not targets.on_disk:
        held = Targets(*place(targets[:2], everywhere))
    options = temperature, soft_weight, config.schedule, execution, mesh, feed.ring
    advance = make_advance(model, *options)
    schedule = place((np.float32(config.steps), np.float32(config.warmup_steps)), everywhere)
    for stop in stops[stops > step]:
        started, since = time.perf_counter(), step
        losses = _Losses(count, progress)
        while step < stop:
            steps = feed.steps(step, min(chunk, int(stop) - step))
            fed = feed.take(step, steps, chunk)
            soft = (None, None) if targets is None else place_soft(targets, held, fed.rows(), mesh)
            data = fed.data, soft[0], fed.places, soft[1]
            state, loss = advance(state, on_mesh, *data, *schedule, np.int32(steps))
            step += steps
            losses.add(step, steps, loss)
        mean_loss = losses.finish() / (step - since)
        seconds = time.perf_counter() - started + (info.seconds[-1] if info.seconds else 0.0)
        now = {"params": state.params, "batch_stats": state.batch_stats}
        histogram = evaluate(model, _of_runs(now, count), validation, validation_rows)
        curves = [histogram.run(r) for r in range(count)]
        bins = [metrics.best_threshold(h) for h in curves]
        f1 = [metrics.score_at(h, b).f1 for h, b in zip(curves, bins)]
        better = _improves(info, f1, config.patience)
        best = _select(place(better[filled], by_run), now, best)
        seen = (step, mean_loss.tolist(), f1, bins, better.tolist(), seconds)
        columns: tuple[list, ...] = info
        for column, value in zip(columns, seen):
            column.append(value)
        if directory is not None:
            tree = {"state": state, "best": best}
            save_latest(directory, step, tree, {"info": info._asdict(), "runs": count})
    return _result(best, info, count)


class _Losses:
    """Sums of losses, fetched a call late: the device is never without work for it."""

    def __init__(self, runs: int, progress: Callable[..., None] | None) -> None:
        self._sum, self._progress = np.zeros(runs), progress
        self._waiting: tuple[int, int, Array] | None = None

    def add(self, step: int, steps: int, loss: Array) -> None:
        """The summed loss of the `steps` steps up to `step`, on its way from the device."""
        self.finish()
        self._waiting = step, steps, loss

    def finish(self) -> np.ndarray:
        """The sum of all that was added, f64[R]."""
        if self._waiting is not None:
            step, steps, loss = self._waiting
            self._waiting = None
            more = np.asarray(loss, np.float64)[: len(self._sum)]
            self._sum += more
            if self._progress is not None:
                self._progress(step, loss=float(np.mean(more)) / steps)
        return self._sum


def _restored(
    directory: str | PathLike, like: Tree, filled: np.ndarray, count: int
) -> tuple[Tree, dict[str, Any]] | None:
    """What the directory's last save holds, with its runs filled up as `filled` says."""
    found = describe_latest(directory)
    if found is None:
        return None
    # A save by other devices may have been filled up to another number of runs.
    stored = next(leaf.shape[0] for leaf in found.leaves)
    if found.meta.get("runs", stored) != count:
        stored = count  # another stack: let the checkpoint say what differs

    def shape_of(leaf: Array) -> np.ndarray:
        return np.broadcast_to(np.zeros((), leaf.dtype), (stored, *leaf.shape[1:]))

    _, tree, meta = restore_latest(directory, jax.tree.map(shape_of, like))  # type: ignore[misc]
    return jax.tree.map(lambda leaf: leaf[filled], tree), meta


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


def _of_runs(tree: Tree, count: int) -> Tree:
    """The first `count` runs, without those that fill up the mesh; whole in every process."""
    tree = processes.local(tree)
    if len(jax.tree.leaves(tree)[0]) == count:
        return tree
    return jax.tree.map(lambda leaf: leaf[:count], tree)


@jax.jit
def _copy(tree: Tree) -> Tree:
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def _select(better: Array, new: Tree, old: Tree) -> Tree:
    """Leaf by leaf the new values of the runs that are better, the old ones elsewhere."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


def _result(best: Tree, info: Info, count: int) -> Fit:
    chosen, runs = _chosen(info), np.arange(count)
    f1, bins = np.asarray(info.f1), np.asarray(info.threshold_bin)
    variables = jax.tree.map(jnp.asarray, _of_runs(best, count))
    return Fit(variables, f1[chosen, runs], bins[chosen, runs], info)
