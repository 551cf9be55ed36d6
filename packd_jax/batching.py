"""Which rows a step sees: deterministic, random access by step; nothing else draws rows."""

from __future__ import annotations

import numpy as np


class RowOrder:
    """An endless order over `rows`: fresh permutation after fresh permutation, by seed.

    The rows of a step depend on the seed and the step alone, so a resumed run sees what an
    uninterrupted one would have seen. With `groups` (one group id a row) each permutation
    visits one group after another, as the authors' loop over clusters does.
    """

    def __init__(self, rows: np.ndarray, seed: int, groups: np.ndarray | None = None) -> None:
        if len(rows) == 0:
            raise ValueError("no rows to draw from: expected at least one")
        if groups is not None and groups.shape != rows.shape:
            raise ValueError(f"groups {groups.shape} and rows {rows.shape}: expected equal shapes")
        self._rows = np.asarray(rows, np.int32)
        self._seed = seed
        self._groups = groups
        self._cached: tuple[int, np.ndarray] = (-1, self._rows)

    def permutation(self, epoch: int) -> np.ndarray:
        """All rows once, in the order of the given epoch: i32[len(rows)]."""
        if self._cached[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))
            if self._groups is not None:
                order = order[np.argsort(self._groups[order], kind="stable")]
            self._cached = (epoch, self._rows[order])
        return self._cached[1]

    def steps(self, start: int, count: int, batch_size: int) -> np.ndarray:
        """Rows of the steps `start, ..., start + count - 1`: i32[count, batch_size]."""
        first, last = start * batch_size, (start + count) * batch_size
        pieces = []
        while first < last:
            epoch, place = divmod(first, len(self._rows))
            piece = self.permutation(epoch)[place : place + last - first]
            pieces.append(piece)
            first += len(piece)
        return np.concatenate(pieces).reshape(count, batch_size)


def subset_rows(total: int, count: int, seed: int) -> np.ndarray:
    """`count` of `total` rows drawn once, in time order (all of them if count is 0): i32.

    For one seed smaller draws are part of larger ones.
    """
    order = np.random.default_rng([seed, total]).permutation(total)
    return np.sort(order[: count or total]).astype(np.int32)
