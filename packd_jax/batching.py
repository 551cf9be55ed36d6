"""Which rows a step sees: deterministic, random access by step; nothing else draws rows.

An order draws windows of rows, endlessly. With one lane a window is a fresh permutation of all
rows. With several, as for traces larger than memory, Grain shuffles blocks of consecutive rows
over the whole trace, epoch after epoch; the lanes deal them out in turn, and a lane's window is
a permutation of the rows of its next blocks. A step takes an equal part of its batch from every
lane, so what a step sees depends neither on where rows are kept nor on how many processes and
devices share the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from packd_jax.config import ConfigError, TrainConfig

BLOCK_ROWS = 1024  # consecutive rows that stay together when blocks are shuffled


class RowOrder:
    """An endless order over `rows`, an array of increasing row numbers or a range of them.

    The rows of a step depend on the seed and the step alone, so a resumed run sees what an
    uninterrupted one would have seen. With `groups` (one group id a row) each permutation
    visits one group after another, as the authors' loop over clusters does; that takes one
    lane. With more lanes than one the windows of all lanes together hold about `shuffle_rows`
    rows.
    """

    def __init__(
        self,
        rows: np.ndarray | range,
        seed: int,
        groups: np.ndarray | None = None,
        *,
        lanes: int = 1,
        shuffle_rows: int = 1 << 21,
    ) -> None:
        if len(rows) == 0:
            raise ValueError("no rows to draw from: expected at least one")
        if groups is not None and groups.shape != (len(rows),):
            raise ValueError(
                f"groups {groups.shape} and rows {(len(rows),)}: expected equal shapes"
            )
        if groups is not None and lanes > 1:
            raise ValueError(f"groups in {lanes} lanes: expected one lane, lanes = 1")
        self.lanes = lanes
        self._rows, self._seed, self._groups = rows, seed, groups
        small = rows[-1] < 2**31  # what a device can index
        self._dtype = np.dtype(np.int32 if small else np.int64)
        self._block = min(BLOCK_ROWS, len(rows))
        self._blocks = -(-len(rows) // self._block)
        of_window = max(1, min(shuffle_rows // (lanes * self._block), self._blocks // lanes))
        self.window_rows = len(rows) if lanes == 1 else of_window * self._block
        self._shuffled: Any = None
        self._cached: dict[int, tuple[int, np.ndarray]] = {}

    def window(self, lane: int, number: int) -> np.ndarray:
        """Rows of a lane's `number`-th window as they are drawn: i32[window_rows], or i64."""
        cached, window = self._cached.get(lane, (-1, None))
        if cached != number or window is None:
            window = self.permutation(number) if self.lanes == 1 else self._dealt(lane, number)
            self._cached[lane] = (number, window)
        return window

    def permutation(self, epoch: int) -> np.ndarray:
        """All rows once, in the order that one lane has in the given epoch."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))
        if self._groups is not None:
            order = order[np.argsort(self._groups[order], kind="stable")]
        return self._numbers(order)

    def places(self, start: int, count: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the steps `start, ..., start + count - 1` find their rows in every lane.

        Two arrays [count, batch_size / lanes]: the number of the window, and the place in it.
        """
        part, rest = divmod(batch_size, self.lanes)
        if rest:
            raise ValueError(
                f"batch_size = {batch_size}: expected a multiple of the {self.lanes} lanes"
            )
        position = np.arange(start * part, (start + count) * part).reshape(count, part)
        number, place = np.divmod(position, self.window_rows)
        return number, place

    def steps(self, start: int, count: int, batch_size: int) -> np.ndarray:
        """Rows of the steps `start, ..., start + count - 1`: i32[count, batch_size], or i64."""
        number, place = self.places(start, count, batch_size)
        steps = np.empty((count, self.lanes, place.shape[1]), self._dtype)
        for lane in range(self.lanes):
            for window in range(number[0, 0], number[-1, -1] + 1):
                inside = number == window
                steps[:, lane][inside] = self.window(lane, window)[place[inside]]
        return steps.reshape(count, batch_size)

    def _dealt(self, lane: int, number: int) -> np.ndarray:
        if self._shuffled is None:
            import grain  # takes half a second, and small traces have no blocks

            seed = int(np.random.SeedSequence(self._seed).generate_state(1)[0])
            self._shuffled = grain.MapDataset.range(self._blocks).seed(seed).shuffle().repeat()
        of_window = self.window_rows // self._block
        drawn = range(number * of_window, (number + 1) * of_window)
        block = np.array([self._shuffled[self.lanes * i + lane] for i in drawn])
        # The last block reaches back, so that all are of one size.
        first = np.minimum(block * self._block, len(self._rows) - self._block)
        order = (first[:, None] + np.arange(self._block)).ravel()
        rng = np.random.default_rng([self._seed, lane, number])
        return self._numbers(order[rng.permutation(len(order))])

    def _numbers(self, order: np.ndarray) -> np.ndarray:
        if isinstance(self._rows, range):
            return (order + self._rows.start).astype(self._dtype)
        return np.asarray(self._rows[order], self._dtype)


def lanes_for(total: int, config: TrainConfig) -> int:
    """How many lanes the orders over `total` rows have: one where a window can hold all.

    Raises ConfigError where a batch can't be dealt out to so many.
    """
    if total <= config.shuffle_rows:
        return 1
    if config.batch_size % config.lanes:
        raise ConfigError(
            f"batch_size = {config.batch_size}: {total:,} rows are drawn in lanes ="
            f" {config.lanes}; expected a multiple of that"
        )
    return config.lanes


def subset_rows(total: int, count: int, seed: int) -> np.ndarray:
    """`count` of `total` rows drawn once, in time order (all of them if count is 0): i32.

    For one seed smaller draws are part of larger ones.
    """
    if not 0 < count < total:
        return np.arange(total, dtype=np.int32)
    order = np.random.default_rng([seed, total]).permutation(total)
    return np.sort(order[:count]).astype(np.int32)


def drawn_of(values: np.ndarray, rows: np.ndarray | range) -> np.ndarray:
    """`values` of the rows, which are a range where they are all."""
    return values[rows] if isinstance(rows, np.ndarray) else values


def same_lanes(orders: Sequence[RowOrder]) -> int:
    """The number of lanes of orders that one program follows. ValueError where they differ."""
    lanes = {order.lanes for order in orders}
    if len(lanes) != 1:
        raise ValueError(f"orders of {sorted(lanes)} lanes: expected the same for all")
    return lanes.pop()
