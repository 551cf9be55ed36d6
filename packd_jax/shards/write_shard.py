"""One shard: a piece of a trace, encoded and written as a file of records."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from numpy.lib.stride_tricks import sliding_window_view

from packd_jax.config import FeatureConfig
from packd_jax.features import delta_bitmaps, delta_windows
from packd_jax.shards.cut_trace import Piece
from packd_jax.shards.record_format import RECORD_ROWS, RecordFormat
from packd_jax.staged_file import staged
from packd_jax.traces.load_trace import TraceError

# Every record can be read alone. zstd leaves about a quarter of the bytes, and level 1 reads and
# writes as many rows a second as are encoded or more.
OPTIONS = "group_size:1,zstd:1"
_RECORDS = 64  # encoded at a time


def shard_path(directory: Path, shard: int) -> Path:
    """Where a shard lies."""
    return directory / f"shard-{shard:05}.array_record"


def write_shard(
    directory: Path, piece: Piece, shard_records: int, features: FeatureConfig, stop: Event
) -> int:
    """Writes the shard of a piece and renames it when it is whole; returns its rows, R.

    Gives up when `stop` is set, with CancelledError and nothing left. Raises TraceError where
    nothing can be written.
    """
    path, first = shard_path(directory, piece.shard), piece.shard * shard_records
    try:
        with staged(path) as temporary:
            writer = ArrayRecordWriter(str(temporary), OPTIONS)
            for records in packed_records(piece, first, features):
                if stop.is_set():
                    writer.close()
                    raise CancelledError
                for record in records:
                    writer.write(record.tobytes())
            writer.close()
    except (OSError, RuntimeError) as error:  # array_record's own errors are the latter
        reason = " ".join(str(error).split())[:200]
        expected = f"a folder with room for {piece.rows:,} rows, about 20 bytes each"
        raise TraceError(path, "shard", f"cannot be written ({reason})", expected) from error
    return piece.rows


def packed_records(piece: Piece, first: int, features: FeatureConfig) -> Iterator[np.ndarray]:
    """The piece as records u8[<= 64, size_bytes], in order; the first has number `first`."""
    layout, past = RecordFormat(features), features.look_back
    for start in range(0, piece.rows, _RECORDS * RECORD_ROWS):
        rows = min(_RECORDS * RECORD_ROWS, piece.rows - start)
        own = slice(start, start + rows)
        block = piece.block[start : start + past + rows + features.horizon]
        counted = piece.counted[start : start + len(block)]
        bound = features.delta_bound
        values = {
            "labels": delta_bitmaps(block, counted, past, rows, features.horizon, bound),
            "instr_id": piece.instr_id[own],
            **{name: tokens[own] for name, tokens in piece.tokens.items()},
        }
        if features.encoding == "tokens":
            to_current = features.delta_from == "current"
            exact, log_buckets = features.delta_exact, features.delta_log_buckets
            values["delta"] = delta_windows(block, past, rows, past, to_current, exact, log_buckets)
        columns = {name: _by_record(column) for name, column in values.items()}
        columns["block"] = _overlapping(block[: past + rows], past)
        columns["pc"] = _overlapping(piece.pc[start : start + past + rows], past)
        yield layout.pack(first + start // RECORD_ROWS, rows, columns)


def _by_record(values: np.ndarray) -> np.ndarray:
    """Values of rows `[N, ...]` as `[R, 1024, ...]`, with zeros where the last record has none."""
    return _filled(values, -(-len(values) // RECORD_ROWS) * RECORD_ROWS).reshape(
        -1, RECORD_ROWS, *values.shape[1:]
    )


def _overlapping(values: np.ndarray, past: int) -> np.ndarray:
    """Values `[L + N]` as `[R, L + 1024]`: of each record's rows, and of L rows before them."""
    count = -(-(len(values) - past) // RECORD_ROWS)
    whole = _filled(values, past + count * RECORD_ROWS)
    return sliding_window_view(whole, past + RECORD_ROWS)[::RECORD_ROWS]


def _filled(values: np.ndarray, rows: int) -> np.ndarray:
    if len(values) == rows:
        return values
    missing = np.zeros((rows - len(values), *values.shape[1:]), values.dtype)
    return np.concatenate([values, missing])
