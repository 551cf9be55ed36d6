"""What training and evaluation need of examples, in memory or in shards, and passes over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from packd_jax.config import ConfigError
from packd_jax.features import Examples, unpack_labels

PIECE_ROWS = 1 << 16  # taken from shards at a time


class ExampleSource(Protocol):
    """N examples: `Examples`, or `ShardedExamples` that are read when they are taken."""

    @property
    def rows(self) -> int: ...

    def take(self, rows: slice | np.ndarray) -> Examples:
        """The given rows, in this order, in memory."""
        ...

    def with_input(self, name: str, values: np.ndarray) -> Any:
        """The same examples with one more input, `[N, ...]`."""
        ...


def in_memory(examples: ExampleSource) -> Examples:
    """The examples, for what needs all of them at once. ConfigError where they are in shards."""
    if not isinstance(examples, Examples):
        raise ConfigError(
            f"config.stream.in_memory_rows: {examples.rows:,} examples are in shards; expected"
            " examples in memory: allow so many rows, or read a shorter trace"
        )
    return examples


def pieces(
    examples: ExampleSource, size: int = 0, within: slice | None = None
) -> Iterator[tuple[slice, Examples]]:
    """All rows in order, (rows, examples): at once if they are in memory, else piece by piece.

    `within` is the part of the rows that is asked for. Pieces are of `size` rows (0: PIECE_ROWS);
    the last one has up to twice as many, so that none has few. Batches of a size that divides
    `size` are then those of the whole.
    """
    asked = within or slice(0, examples.rows)
    if isinstance(examples, Examples):
        yield asked, examples.take(asked) if within else examples
        return
    for piece in piece_rows(asked.stop - asked.start, size or PIECE_ROWS):
        rows = slice(asked.start + piece.start, asked.start + piece.stop)
        yield rows, examples.take(rows)


def row_pieces(examples: ExampleSource, rows: np.ndarray) -> Iterator[np.ndarray]:
    """`rows` as `pieces` has all: at once where examples are in memory."""
    if isinstance(examples, Examples):
        yield rows
        return
    for piece in piece_rows(len(rows), PIECE_ROWS):
        yield rows[piece]


def piece_rows(total: int, size: int) -> Iterator[slice]:
    """The rows of `pieces`."""
    count = max(total // size, 1)
    for piece in range(count):
        yield slice(piece * size, total if piece == count - 1 else (piece + 1) * size)


def label_counts(examples: ExampleSource, rows: np.ndarray | None = None) -> np.ndarray:
    """How many rows (of all, or of `rows`) have each label bit: i64[D]."""
    total: Any = 0
    count = examples.rows if rows is None else len(rows)
    for piece in piece_rows(count, PIECE_ROWS):
        own = piece if rows is None else rows[piece]
        total = total + unpack_labels(examples.take(own).labels).sum(axis=0, dtype=np.int64)
    return total
