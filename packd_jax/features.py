"""From a load trace to examples: what a window looks like to a model, and what it must predict.

Two encodings of the `look_back` accesses that end with the current one, oldest first:

* "segments" (the paper's): each block number in six-bit pieces, least significant first,
  `u8[N, L, 10]`; models divide them by 64.
* "tokens": `delta u8[N, L]` (block deltas, exact near zero, one bucket an octave and sign
  beyond), `pc u8[N, L]` (vocabulary of the training rows, the rest hashed) and `offset u8[N]`
  (the current block's place in its page); if asked for, also `local u8[N, P]`, `confidence u8[N]`
  and `popularity u8[N, 4]`, see window_features.py.

Labels are delta bitmaps: bit `d - 1` for a positive delta d of one of the next `horizon`
accesses to the current block, bit `2 * bound + d` for a negative one, packed little end first.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.tokens import delta_token, pc_tokens
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.window_features import WindowTables, window_tokens

SEGMENTS = 58 // 6 + 1  # six-bit pieces of a 58-bit block number


class Examples(NamedTuple):
    """N windows: a dict of input arrays `[N, ...]`, packed labels, and where they are from."""

    inputs: dict[str, np.ndarray]
    labels: np.ndarray  # u8[N, D/8]
    trace_row: np.ndarray  # i64[N], row of the current access in its trace

    @property
    def rows(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> Examples:
        """The given rows as examples of their own."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Examples(inputs, self.labels[rows], self.trace_row[rows])

    def with_input(self, name: str, values: np.ndarray) -> Examples:
        """The same examples with one more input, `[N, ...]`."""
        return self._replace(inputs={**self.inputs, name: values})


def concatenate(parts: list[Examples]) -> Examples:
    """Examples of several traces, one after another; one part is passed through uncopied."""
    if len(parts) == 1:
        return parts[0]
    inputs = {name: np.concatenate([p.inputs[name] for p in parts]) for name in parts[0].inputs}
    return Examples(
        inputs,
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.trace_row for p in parts]),
    )


def learn_pc_vocabulary(pcs: list[np.ndarray], size: int) -> np.ndarray:
    """The `size` most frequent PCs of the training rows, sorted: u64[<= size].

    Ties go to the smaller PC, so that the vocabulary does not depend on the rows' order.
    """
    values, counts = np.unique(np.concatenate(pcs), return_counts=True)
    return most_frequent_pcs(values, counts, size)


def most_frequent_pcs(pcs: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """As `learn_pc_vocabulary` of PCs u64[P] that occur i64[P] times; they may come repeatedly."""
    values, place = np.unique(pcs, return_inverse=True)
    total = np.zeros(len(values), np.int64)
    np.add.at(total, place, counts)
    values, total = values[total > 0], total[total > 0]
    frequent = np.lexsort((values, -total))[:size]
    return np.sort(values[frequent])


def example_rows(window: slice, config: FeatureConfig) -> slice:
    """Rows of the window that can be examples.

    The look-back may reach before the window, for the past is known; the horizon may not
    leave it, so that no label looks into the next split.
    """
    first = max(window.start, config.look_back)
    return slice(first, max(first, window.stop - config.horizon))


def encode(
    trace: LoadTrace, window: slice, config: FeatureConfig, pc_vocabulary: np.ndarray
) -> Examples:
    """Encodes the rows of `window` (a slice of trace rows), see `example_rows`.

    `pc_vocabulary` is `u64[V]`, sorted; only the encoding "tokens" reads it.
    """
    rows = example_rows(window, config)
    # Everything an example can see or predict: look-back, one more for its delta, horizon.
    part = trace.take(slice(rows.start, rows.stop + config.horizon))
    block = part.block
    counted = ~part.hit if config.miss_labels else np.ones(len(block), np.bool_)
    count = rows.stop - rows.start
    labels = delta_bitmaps(block, counted, 0, count, config.horizon, config.delta_bound)
    inputs = encode_inputs(trace, rows, config, pc_vocabulary)
    examples = Examples(inputs, labels, np.arange(rows.start, rows.stop))
    if not config.keep_empty_labels:
        examples = examples.take(np.flatnonzero(labels.any(axis=1)))
    return examples


def encode_inputs(
    trace: LoadTrace,
    rows: slice,
    config: FeatureConfig,
    pc_vocabulary: np.ndarray,
    tables: WindowTables | None = None,
) -> dict[str, np.ndarray]:
    """The inputs alone, of rows that have `look_back` accesses up to them and one before these.

    Who encodes a trace chunk after chunk hands on the same `tables`, see `window_tokens`.
    """
    part = trace.take(slice(max(rows.start - config.look_back, 0), rows.stop))
    first, count = min(config.look_back, rows.start), rows.stop - rows.start
    block = part.block
    if config.encoding == "segments":
        return {"segments": _segment_windows(block, first, count, config.look_back)}
    from_current = config.delta_from == "current"
    exact, log_buckets = config.delta_exact, config.delta_log_buckets
    tokens = pc_tokens(part.pc, pc_vocabulary, config)
    inputs = {
        "delta": delta_windows(
            block, first, count, config.look_back, from_current, exact, log_buckets
        ),
        "pc": _windows(tokens, first, count, config.look_back),
        "offset": (block[first : first + count] & 63).astype(np.uint8),
    }
    return inputs | window_tokens(trace, rows, config, tables)


def unpack_labels(labels: np.ndarray) -> np.ndarray:
    """Packed labels `u8[N, D/8]` as bits `u8[N, D]` on the host."""
    return np.unpackbits(labels, axis=1, bitorder="little")


@numba.njit(cache=True, nogil=True)
def delta_bitmaps(block, counted, first, count, horizon, bound):
    labels = np.zeros((count, bound // 4), np.uint8)
    for row in range(count):
        current = block[first + row]
        for i in range(first + row + 1, first + row + 1 + horizon):
            delta = block[i] - current
            if counted[i] and -bound <= delta <= bound and delta != 0:
                bit = delta - 1 if delta > 0 else 2 * bound + delta
                labels[row, bit >> 3] |= np.uint8(1 << (bit & 7))
    return labels


@numba.njit(cache=True, nogil=True)
def _segment_windows(block, first, count, look_back):
    windows = np.empty((count, look_back, SEGMENTS), np.uint8)
    for row in range(count):
        for i in range(look_back):
            value = block[first + row - look_back + 1 + i]
            for segment in range(SEGMENTS):
                windows[row, i, segment] = value & 63
                value >>= 6
    return windows


@numba.njit(cache=True, nogil=True)
def _windows(values, first, count, look_back):
    windows = np.empty((count, look_back), values.dtype)
    for row in range(count):
        for i in range(look_back):
            windows[row, i] = values[first + row - look_back + 1 + i]
    return windows


@numba.njit(cache=True, nogil=True)
def delta_windows(block, first, count, look_back, to_current, exact, log_buckets):
    windows = np.empty((count, look_back), np.uint8)
    for row in range(count):
        current = block[first + row]
        for i in range(look_back):
            place = first + row - look_back + 1 + i
            delta = current - block[place] if to_current else block[place] - block[place - 1]
            windows[row, i] = delta_token(delta, exact, log_buckets)
    return windows
