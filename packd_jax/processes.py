"""Several processes that train as one: who writes files, where they wait, what they exchange.

Every process runs the same program on the same files; `jax.distributed` connects their devices.
The first one writes. With one process, all of this does nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from packd_jax.config import ConfigError

Tree = Any
CLUSTER = "cluster"  # a coordinator's name: what Slurm, Open MPI, Kubernetes or a TPU pod says
WAIT_SECONDS = 24 * 3600  # for the slowest process, as it encodes a trace
LOST_SECONDS = 20  # without a sign of life until a process counts as dead
_LOSS = ("gloo", "nccl", "coordination", "heartbeat", "barrier", "connection", "peer")
_waits = 0  # every barrier has a name of its own


def connect(coordinator: str, number: int | None, index: int | None) -> None:
    """Makes this process the `index`-th of `number`, before anything of JAX runs.

    `coordinator` is HOST:PORT of the first process, where it waits for the others, or `CLUSTER`:
    all three are then what the cluster's environment says. Raises ConfigError for numbers that
    do not fit, and when the others do not come.
    """
    address: dict[str, Any] = {}
    if coordinator != CLUSTER:
        if number is None or index is None or not 0 <= index < number:
            raise ConfigError(
                f"--num_processes={number}, --process_id={index}: expected both beside"
                f" --coordinator={coordinator}, 0 <= process_id < num_processes; or"
                f" --coordinator={CLUSTER} to be told by the cluster"
            )
        if not coordinator.rpartition(":")[2].isdigit():
            raise ConfigError(f"--coordinator={coordinator}: expected HOST:PORT, or {CLUSTER}")
        address = {
            "coordinator_address": coordinator,
            "num_processes": number,
            "process_id": index,
        }
        if coordinator.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
            address["coordinator_bind_address"] = coordinator  # as narrow as it was asked for
    try:
        jax.distributed.initialize(**address, heartbeat_timeout_seconds=LOST_SECONDS)
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--coordinator={coordinator}: the processes did not find each other ({line}); start"
            " all of them with the same address, each with a --process_id of its own"
        ) from error


def is_loss(error: Exception) -> bool:
    """Whether an error of JAX says that another process is gone."""
    text = str(error).lower()
    return any(word in text for word in _LOSS)


def count() -> int:
    return jax.process_count()


def is_first() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0


def wait(place: str) -> None:
    """Returns when all processes are at `place`: what the first has written is there.

    Takes as long as the slowest: the devices, whose exchanges give up after seconds, have no
    part in it. A process that is lost ends it for the others.
    """
    global _waits
    if count() > 1:
        from orbax.checkpoint import multihost

        _waits += 1
        barrier = multihost.get_barrier_sync_fn()
        barrier(key=f"{place} ({_waits})", timeout_ms=WAIT_SECONDS * 1000)


def local(tree: Tree) -> Tree:
    """Global arrays as whole arrays of this process, with their shards from everywhere."""
    if count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, tree)


def gather(values: np.ndarray) -> np.ndarray:
    """`values` of all processes, [processes, ...]; equal shapes and dtypes everywhere."""
    if count() == 1:
        return values[None]
    from jax.experimental import multihost_utils

    # As bytes: JAX has no 64-bit integers unless asked for.
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(flat))
    return gathered.view(values.dtype).reshape(count(), *values.shape)


def share(total: int) -> slice:
    """This process's part of `total` things, contiguous and as large as the others' or one less."""
    index, processes = jax.process_index(), count()
    return slice(total * index // processes, total * (index + 1) // processes)
