"""Devices as a mesh of two axes, and how arrays lie on it.

Rows of a batch are shared out along "data"; the runs of a stack (teachers, arms x seeds) along
"model_replica", which needs no communication, for runs never meet. One process or many: the
same program runs on all devices that JAX sees, and arrays are placed by `NamedSharding`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from packd_jax.config import ConfigError

DATA, REPLICA = "data", "model_replica"
Tree = Any


class Layout(NamedTuple):
    """Devices along each axis; 0: whatever is best for the stack at hand."""

    data: int = 0
    model_replica: int = 0


_layout = Layout()


@contextlib.contextmanager
def layout(data: int = 0, model_replica: int = 0) -> Iterator[None]:
    """Fixes the devices along the axes for all that is trained inside; the others stay idle.

    Raises ConfigError for more devices than there are.
    """
    global _layout
    before, found = _layout, jax.device_count()
    asked = max(data, 1) * max(model_replica, 1)
    # Devices may stay idle, but no process: it would wait for what the others do without it.
    leaves_out = data and model_replica and asked < found and jax.process_count() > 1
    if asked > found or leaves_out:
        raise ConfigError(
            f"mesh data={data}, model_replica={model_replica}: {found} device(s) here;"
            f" expected a product of {found}{'' if leaves_out else ' at most'}, or 0 to let it be"
            " chosen"
        )
    _layout = Layout(data, model_replica)
    try:
        yield
    finally:
        _layout = before


def make_mesh(runs: int, batch_size: int, lanes: int = 1) -> Mesh:
    """The mesh for a stack of `runs` runs that see `batch_size` rows a step, in `lanes` lanes.

    Of all divisions of the devices the one that leaves the busiest device the fewest rows; among
    equals that with the fewest along "data", where gradients have to be summed. Rows and lanes
    must divide evenly; runs need not, see `padded`.
    """
    devices, wanted = jax.devices(), _layout
    if wanted.data and wanted.model_replica:
        devices = devices[: wanted.data * wanted.model_replica]
    best: tuple[int, int, int] | None = None
    for data in range(1, len(devices) + 1):
        replicas, rest = divmod(len(devices), data)
        is_even = not rest and batch_size % data == 0 and (lanes == 1 or lanes % data == 0)
        is_wanted = wanted.data in (0, data) and wanted.model_replica in (0, replicas)
        if is_even and is_wanted:
            load = math.ceil(runs / replicas) * (batch_size // data)
            best = min(best or (load, data, replicas), (load, data, replicas))
    if best is None:
        raise ConfigError(
            f"mesh {wanted._asdict()} on {len(devices)} devices: expected axes whose product is"
            f" that, and data a divisor of the batch size {batch_size}"
            + (f" and of the {lanes} lanes" if lanes > 1 else "")
        )
    return Mesh(np.array(devices).reshape(best[1:]), (DATA, REPLICA))


def padded(runs: int, mesh: Mesh) -> int:
    """How many runs a stack must have for "model_replica" to divide it: `runs` or a few more."""
    return -(-runs // mesh.shape[REPLICA]) * mesh.shape[REPLICA]


def sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """An array's leading dimensions along the named axes of the mesh; all else is replicated."""
    return NamedSharding(mesh, PartitionSpec(*axes))


def place(tree: Tree, where: NamedSharding) -> Tree:
    """Host arrays on the devices; every process passes the same values and keeps its shards."""
    if where.is_fully_addressable:
        return jax.device_put(tree, where)

    def shards(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return jax.tree.map(shards, tree)
