"""Windows of an order, read ahead by Grain: what a training step is given, whole and in order."""

from __future__ import annotations

from typing import SupportsIndex

import grain
import numpy as np

from packd_jax.batching import RowOrder
from packd_jax.example_source import ExampleSource

ENDLESS = 2**40  # windows; nobody comes to their end

Window = tuple[dict[str, np.ndarray], np.ndarray]  # inputs `[n, ...]` and labels `u8[n, D/8]`


def windows(
    examples: ExampleSource,
    order: RowOrder,
    lane: int = 0,
    first: int = 0,
    count: int | None = None,
    *,
    threads: int = 1,
    prefetch: int = 1,
) -> grain.DatasetIterator:
    """Iterates over the windows `first`, `first + 1`, ... of a lane: (inputs, labels) of each.

    What comes depends on the order alone, not on the threads nor on `prefetch`, how many windows
    are read before they are asked for (0: none); `threads` + `prefetch` are held. A process reads
    lanes of its own, each with an iterator, so that one thread a lane is enough. The iterator's
    `get_state` is small and can be kept as JSON; after `set_state` it goes on behind the last
    window that was given. Ends after `count` windows; None: never.
    """
    if not 0 <= lane < order.lanes:
        raise ValueError(f"lane = {lane}: expected 0 to {order.lanes - 1}")
    source = _Windows(examples, order, lane, first, ENDLESS if count is None else count)
    options = grain.ReadOptions(
        num_threads=threads if prefetch else 0, prefetch_buffer_size=prefetch
    )
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


class _Windows:
    """Windows by number, as Grain asks for them."""

    def __init__(
        self, examples: ExampleSource, order: RowOrder, lane: int, first: int, count: int
    ) -> None:
        self._examples, self._order, self._lane = examples, order, lane
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: SupportsIndex) -> Window:
        rows = self._order.window(self._lane, self._first + int(number))
        taken = self._examples.take(rows)
        return dict(taken.inputs), taken.labels

    def __repr__(self) -> str:
        return f"windows of lane {self._lane} from {self._first} on"
