"""Pieces cover all rows and change no batch; labels are counted as they are unpacked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax import example_source
from packd_jax.config import ConfigError
from packd_jax.example_source import in_memory, label_counts, piece_rows, pieces, row_pieces
from packd_jax.features import Examples, unpack_labels


class OnDisk:
    """Examples that are taken from a list, and remember what was taken."""

    def __init__(self, held):
        self.held, self.taken = held, []

    @property
    def rows(self):
        return self.held.rows

    def take(self, rows):
        self.taken.append(rows)
        return self.held.take(rows)

    def with_input(self, name, values):
        return OnDisk(self.held.with_input(name, values))


def examples(rows, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 256, (rows, 2), np.uint8)
    return Examples({"offset": rng.integers(0, 64, rows, np.uint8)}, labels, np.arange(rows))


@given(st.integers(0, 5000), st.integers(1, 1000))
def test_pieces_follow_one_another_and_none_is_small(total, size):
    parts = list(piece_rows(total, size))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(total))
    sizes = [part.stop - part.start for part in parts]
    assert all(own == size for own in sizes[:-1])
    assert sizes[-1] == total or size <= sizes[-1] < 2 * size


def test_what_is_in_memory_is_one_piece():
    held = examples(50)
    ((rows, piece),) = pieces(held, 10)
    assert rows == slice(0, 50) and piece is held
    (some,) = row_pieces(held, np.arange(7))
    assert some.tolist() == list(range(7))


def test_what_is_on_disk_comes_in_pieces(monkeypatch):
    held = examples(57)
    found = list(pieces(OnDisk(held), 10))
    assert [rows for rows, _ in found] == [slice(10 * i, 10 * i + 10) for i in range(4)] + [
        slice(40, 57)
    ]
    for rows, piece in found:
        np.testing.assert_array_equal(piece.labels, held.labels[rows])
    monkeypatch.setattr(example_source, "PIECE_ROWS", 4)
    some = list(row_pieces(OnDisk(held), np.arange(9)))
    assert [part.tolist() for part in some] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]


def test_labels_are_counted(monkeypatch):
    held, rows = examples(57), np.array([3, 9, 3, 50, 2])
    monkeypatch.setattr(example_source, "PIECE_ROWS", 2)
    for source in (held, OnDisk(held)):
        bits = unpack_labels(held.labels).astype(int)
        assert label_counts(source).tolist() == bits.sum(axis=0).tolist()
        assert label_counts(source, rows).tolist() == bits[rows].sum(axis=0).tolist()


def test_what_needs_memory_says_so():
    held = examples(3)
    assert in_memory(held) is held
    with pytest.raises(ConfigError, match="in_memory_rows: 3 examples are in shards; expected"):
        in_memory(OnDisk(held))
