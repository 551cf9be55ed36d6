"""Several processes that train as one: who writes files, where they wait, what they exchange.

Every process runs the same program on the same files; `jax.distributed` connects their devices.
The first one writes. With one process, all of this does nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

Tree = Any


def count() -> int:
    return jax.process_count()


def is_first() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0


def wait(place: str) -> None:
    """Returns when all processes are at `place`: what the first has written is there."""
    if count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


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
