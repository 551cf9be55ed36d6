"""How the rows that an order draws reach the devices.

`ResidentRows`: all rows lie on every device, and steps bring numbers of rows. `WindowRing`: rows
come window by window from shards on disk, each lane with room for two, and steps bring places in
them; lanes are shared out along the mesh axis "data", so a process reads its own lanes alone.
Either way a step sees the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from packd_jax.batching import RowOrder, same_lanes
from packd_jax.device_mesh import DATA, place, sharding
from packd_jax.example_source import ExampleSource
from packd_jax.features import Examples

Tree = Any


class Fed(NamedTuple):
    """What a chunk of steps needs."""

    data: Tree  # (inputs, labels), as the feed keeps them
    places: Array  # i32[orders, steps, B], or [orders, steps, B / lanes] in every lane of a ring
    rows: Callable[[], np.ndarray]  # their numbers in the split, [orders, steps, B]


class Feed(Protocol):
    """Where `train.fit` gets its rows."""

    ring: bool  # whether `draw` must look into a ring

    def steps(self, start: int, most: int) -> int:
        """How many steps from `start` on one chunk can hold, `most` at most."""
        ...

    def take(self, start: int, steps: int, chunk: int) -> Fed:
        """Rows of `steps` steps from `start` on, in arrays for `chunk` of them."""
        ...


def make_feed(
    train: ExampleSource, orders: Sequence[RowOrder], batch_size: int, mesh: Mesh
) -> Feed:
    """The feed for examples in memory, or for sharded ones."""
    if isinstance(train, Examples):
        return ResidentRows(train, orders, batch_size, mesh)
    return WindowRing(train, orders, batch_size, mesh)


class ResidentRows:
    """All rows on every device, packed as they are; each device picks its part of a batch."""

    ring = False

    def __init__(
        self, train: Examples, orders: Sequence[RowOrder], batch_size: int, mesh: Mesh
    ) -> None:
        self._orders, self._batch_size = orders, batch_size
        self._data = place((train.inputs, train.labels), sharding(mesh))
        self._where = sharding(mesh, None, None, DATA)

    def steps(self, start: int, most: int) -> int:
        return most

    def take(self, start: int, steps: int, chunk: int) -> Fed:
        rows = np.stack([order.steps(start, chunk, self._batch_size) for order in self._orders])
        return Fed(self._data, place(rows.astype(np.int32), self._where), lambda: rows)


class WindowRing:
    """Two windows of each lane of each order on the devices; one is read while the other serves."""

    ring = True

    def __init__(
        self, train: ExampleSource, orders: Sequence[RowOrder], batch_size: int, mesh: Mesh
    ) -> None:
        self._train, self._orders, self._batch_size = train, orders, batch_size
        self._lanes = same_lanes(orders)
        self._room = max(order.window_rows for order in orders)
        axes = (DATA,) if self._lanes > 1 else (None,)
        self._window_at = sharding(mesh, *axes)
        self._places_at = sharding(mesh, None, None, None if self._lanes > 1 else DATA)
        sample = train.take(slice(0, 1))
        shape = (len(orders), self._lanes, 2 * self._room)
        self._ring = jax.jit(
            lambda: jax.tree.map(
                lambda leaf: jnp.zeros((*shape, *leaf.shape[1:]), leaf.dtype),
                (sample.inputs, sample.labels),
            ),
            out_shardings=sharding(mesh, None, *axes),
        )()
        self._held: dict[tuple[int, int], int] = {}  # (order, slot) -> number of its window
        self._readers: dict[tuple[int, int], tuple[int, Any]] = {}  # (order, lane) -> next window

    def steps(self, start: int, most: int) -> int:
        """As many as lie in two windows of every order: the ring holds no more."""
        fits = most
        for order in self._orders:
            part = self._batch_size // order.lanes
            end = (start * part // order.window_rows + 2) * order.window_rows
            fits = min(fits, end // part - start)
        if fits < 1:
            raise ValueError(
                f"batch_size = {self._batch_size}: expected two windows of"
                f" {min(o.window_rows for o in self._orders)} rows to hold a batch's part of a lane"
            )
        return fits

    def take(self, start: int, steps: int, chunk: int) -> Fed:
        places = []
        for number, order in enumerate(self._orders):
            window, place_in = order.places(start, steps, self._batch_size)
            for wanted in range(int(window[0, 0]), int(window[-1, -1]) + 1):
                self._hold(number, wanted)
            here = (window % 2 * self._room + place_in).astype(np.int32)
            # Steps beyond `steps` are not taken.
            places.append(np.resize(here, (chunk, here.shape[1])))

        def rows() -> np.ndarray:
            drawn = [order.steps(start, steps, self._batch_size) for order in self._orders]
            return np.stack([np.resize(own, (chunk, self._batch_size)) for own in drawn])

        return Fed(self._ring, place(np.stack(places), self._places_at), rows)

    def _hold(self, order: int, window: int) -> None:
        """Has a window of all lanes in the ring, in the slot of the one before the last."""
        slot = window % 2
        if self._held.get((order, slot)) == window:
            return
        read: dict[int, tuple[dict[str, np.ndarray], np.ndarray]] = {}

        def lane_of(lane: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            if lane not in read:
                read[lane] = self._read(order, lane, window)
            return read[lane]

        def shards(name: str | None) -> Array:
            like = self._ring[1] if name is None else self._ring[0][name]
            shape = (self._lanes, self._room, *like.shape[3:])

            def part(index: Any) -> np.ndarray:
                lanes = range(*index[0].indices(self._lanes))
                values = np.zeros((len(lanes), *shape[1:]), like.dtype)
                for i, lane in enumerate(lanes):
                    inputs, labels = lane_of(lane)
                    own = labels if name is None else inputs[name]
                    values[i, : len(own)] = own
                return values

            return jax.make_array_from_callback(shape, self._window_at, part)

        filled = {name: shards(name) for name in self._ring[0]}, shards(None)
        self._ring = _filled(self._ring, filled, jnp.int32(order), jnp.int32(slot * self._room))
        self._held[order, slot] = window

    def _read(self, order: int, lane: int, window: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A window of one lane, from Grain, which has read ahead if it is the next one."""
        from packd_jax.shards.loader import windows  # Grain is for those who need it

        number, reader = self._readers.pop((order, lane), (-1, None))
        if number != window:
            reader = windows(self._train, self._orders[order], lane, window)
        values = next(reader)
        self._readers[order, lane] = (window + 1, reader)
        return values


@partial(jax.jit, donate_argnums=0)
def _filled(ring: Tree, window: Tree, order: Array, first: Array) -> Tree:
    """The ring with window [lanes, room, ...] written at [order, :, first:]."""

    def write(held: Array, new: Array) -> Array:
        start = [order, jnp.int32(0), first, *[jnp.int32(0)] * (held.ndim - 3)]
        return jax.lax.dynamic_update_slice(held, new[None], start)

    return jax.tree.map(write, ring, window)


def draw(data: Tree, places: Array, order: Array, ring: bool) -> Tree:
    """Rows [R, B, ...] for R runs out of a feed's data: places of one step, each run's order.

    places i32[orders, B], or i32[orders, B / lanes] in a ring, for each lane; order i32[R].
    """
    if not ring:
        rows = places[order]
        return jax.tree.map(lambda values: values[rows], data)

    def of_lanes(values: Array) -> Array:
        of_order = jax.vmap(lambda held, at: held[at], in_axes=(0, None))
        picked = jax.vmap(of_order)(values, places)
        return picked.reshape(len(places), -1, *picked.shape[3:])[order]

    return jax.tree.map(of_lanes, data)
