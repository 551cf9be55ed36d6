"""Steps of a stack of runs, many of them as one program on the devices of a mesh."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from packd_jax.device_mesh import DATA, REPLICA, place, sharding
from packd_jax.feeding import draw
from packd_jax.train_step import Batch, TrainState, make_train_step, rate_factor


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


def place_soft(
    targets: Targets, held: Targets | None, rows: np.ndarray, mesh: Mesh
) -> tuple[Targets, Array]:
    """Soft targets on the devices, and where a chunk's rows [orders, steps, B] are in them."""
    where = sharding(mesh, None, None, DATA)
    if held is not None:
        return held, place(rows.astype(np.int32), where)
    # Read from disk: what the chunk needs, in one shape for all, or each would be compiled anew.
    unique, places = np.unique(rows, return_inverse=True)
    needed = np.resize(unique, rows.size)
    values = np.stack([one[needed] for one in targets.values])
    near = Targets(*place((values, targets.cluster[:, needed]), sharding(mesh)))
    return near, place(places.reshape(rows.shape).astype(np.int32), where)


@functools.lru_cache(maxsize=64)
def make_advance(
    model: Any,
    temperature: float,
    soft_weight: float,
    schedule: str,
    execution: str,
    mesh: Mesh,
    ring: bool = False,
) -> Callable[..., tuple[TrainState, Array]]:
    """A function that advances a whole stack by `count` steps; see its docstring.

    `execution` "scan" and "epoch" loop on the device, "loop" calls one compiled step at a time:
    the same mathematics, whichever the platform runs faster. On a `mesh` the runs lie along
    "model_replica" and the rows of a batch along "data". `ring` says how `draw` finds rows.
    """
    train_step = _stacked(make_train_step(model, temperature, soft_weight))
    by_run, rows_of_runs = sharding(mesh, REPLICA), sharding(mesh, REPLICA, DATA)

    def one(carry, runs, data, targets, places, soft_rows, total, warmup, i):
        # places: i32[orders, steps, rows]; soft_rows: i32[orders, steps, B]
        state, summed = carry
        inputs, labels = draw(data, places[:, i], runs.order, ring)
        soft = alpha = None
        if targets is not None:
            soft_rows = soft_rows[:, i][runs.order]
            soft = jax.vmap(lambda u, r: targets.values[u, r])(runs.soft, soft_rows)
            cluster = jax.vmap(lambda u, r: targets.cluster[u, r])(runs.soft, soft_rows)
            alpha = jax.vmap(lambda a, c: a[c])(runs.alpha, cluster)
        batch = jax.lax.with_sharding_constraint(Batch(inputs, labels, soft, alpha), rows_of_runs)
        rate = runs.learning_rate * rate_factor(state.step, total, warmup, schedule)
        state, loss = train_step(state, rate, batch)
        return state, summed + loss

    def advance(state, runs, data, targets, places, soft_rows, total, warmup, count):
        """Advances all runs by `count` steps, as many as there are places for at most.

        Returns the state, whose buffers the old one gave, and the summed loss f32[R].
        """

        def body(i, carry):
            return one(carry, runs, data, targets, places, soft_rows, total, warmup, i)

        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros(len(runs.order))))

    # Every process can read the loss of all runs; a run's state stays where it is.
    options: dict[str, Any] = {"donate_argnums": 0, "out_shardings": (by_run, sharding(mesh))}
    # Where a CPU plays several devices, the exchanges of programs that are under way at the same
    # time wait for each other in one pool of threads, some of them for ever.
    one_by_one = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
    settled = jax.block_until_ready if one_by_one else lambda carry: carry
    if execution != "loop":
        jitted_advance = jax.jit(advance, **options)
        return lambda *operands: settled(jitted_advance(*operands))
    jitted = jax.jit(one, **options)

    def advance_by_calls(state, runs, *operands):
        *args, count = operands
        carry = state, place(np.zeros(len(runs.order), np.float32), sharding(mesh))
        for i in range(int(count)):
            # Nothing else is dispatched between steps: for small networks it would cost as much.
            carry = settled(jitted(carry, runs, *args, np.int32(i)))
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
