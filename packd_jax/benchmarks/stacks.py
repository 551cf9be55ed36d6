"""A stack of runs on the devices, as `train.fit` has it, whose steps are measured."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from packd_jax.advance import Runs, Targets, make_advance
from packd_jax.batching import RowOrder
from packd_jax.device_mesh import REPLICA, make_mesh, place, sharding
from packd_jax.features import Examples
from packd_jax.feeding import Fed, ResidentRows
from packd_jax.train_step import init_state

RATE = 1e-3
Tree = Any


def plain_runs(count: int) -> Runs:
    """Runs of seeds 0, 1, ... without soft targets."""
    seeds = np.arange(count, dtype=np.int32)
    return Runs(seeds, np.zeros_like(seeds), np.full(count, RATE, np.float32))


class Stack:
    """Runs of a network with one row order, at a rate as good as constant."""

    def __init__(
        self,
        model: Any,
        data: Examples,
        runs: Runs,
        batch_size: int,
        execution: str,
        targets: Targets | None = None,
    ) -> None:
        mesh = make_mesh(len(runs.seed), batch_size)
        sample = {name: jnp.asarray(values[:1]) for name, values in data.inputs.items()}
        state = init_state(model, runs.seed, sample)
        self.state, self._runs = place((state, runs), sharding(mesh, REPLICA))
        self.feed = ResidentRows(data, [RowOrder(range(data.rows), 0)], batch_size, mesh)
        self._advance = make_advance(model, 1.0, 1.0, "cosine", execution, mesh)
        self._limits = place((np.float32(1e6), np.float32(0)), sharding(mesh))
        self._targets = targets

    def advance(self, fed: Fed, steps: int) -> jax.Array:
        """Takes `steps` steps; returns their summed loss f32[R], which may still be on its way."""
        soft_rows = None if self._targets is None else fed.places
        data = fed.data, self._targets, fed.places, soft_rows, *self._limits
        self.state, loss = self._advance(self.state, self._runs, *data, np.int32(steps))
        return loss
