"""A trace of any length to shards, in one pass over it, in bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from array_record.python.array_record_module import ArrayRecordReader

from packd_jax.config import CACHE_PRESETS, CacheConfig, ConfigError, FeatureConfig
from packd_jax.shards.cut_trace import CutTrace, Piece
from packd_jax.shards.index import Origin, claim, write_facts
from packd_jax.shards.record_format import RECORD_ROWS, stored_features
from packd_jax.shards.store import ShardStore
from packd_jax.shards.write_shard import shard_path, write_shard
from packd_jax.traces.byte_source import open_trace
from packd_jax.traces.read_trace import trace_chunks

Progress = Callable[[float], None]  # told the share of the trace file that has been read


def trace_origin(
    path: str | os.PathLike,
    features: FeatureConfig,
    cache: CacheConfig = CACHE_PRESETS["ml_dpc"],
    sha256: str | None = None,
    shard_records: int = 1024,
) -> Origin:
    """Says what shards of this trace file are made from; reads it once unless its hash is known.

    Raises ConfigError for features that cannot be encoded row by row, TraceError for no file.
    """
    if not features.keep_empty_labels:
        raise ConfigError(
            "config.features.keep_empty_labels = False: expected True for a trace in shards, which"
            " hold every row; keep such rows, or raise config.stream.in_memory_rows"
        )
    with open_trace(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        sha256 = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
    stored = stored_features(features)
    return Origin(os.fspath(path), sha256, size_bytes, stored, cache, shard_records)


def encode_trace(
    origin: Origin,
    directory: str | os.PathLike,
    threads: int = 0,
    progress: Progress | None = None,
) -> ShardStore:
    """Encodes the trace of `origin` into shards in `directory`, or opens those that are there.

    The calling thread parses; `threads` others (0: one a core) encode and write shards, each of
    which appears whole or not at all. A call that was interrupted is taken up by the next one: it
    parses the trace again, and encodes only the shards that are missing. At most `threads` + 2
    pieces of a shard are held at a time, whatever the trace's length. Raises ConfigError when the
    directory holds shards of another origin, TraceError for a trace that cannot be read.
    """
    directory, threads = Path(directory), threads or _cores()
    if not claim(directory, origin):
        _remove_temporaries(directory)
        with open_trace(origin.path) as file:
            chunks = trace_chunks(file, origin.path, origin.cache)
            cut = CutTrace(
                chunks,
                origin.features,
                origin.shard_rows,
                lambda shard, rows: not _is_whole(directory, shard, rows),
            )
            size = max(origin.size_bytes, 1)
            for _ in _written(cut, directory, origin, threads):
                if progress is not None:
                    progress(min(file.tell() / size, 1.0))
        assert cut.facts is not None
        write_facts(directory, origin, cut.facts)
    if progress is not None:
        progress(1.0)
    return ShardStore(directory)


def _written(cut: CutTrace, directory: Path, origin: Origin, threads: int) -> Iterator[int]:
    """Writes the pieces in parallel; gives the rows of one after another."""
    pending: set[Future[int]] = set()
    stop = Event()
    with ThreadPoolExecutor(threads, "shard") as pool:
        try:
            for piece in cut:
                pending.add(_submit(pool, piece, directory, origin, stop))
                # Two would wait for a thread in vain, but one is there as soon as it is free.
                if len(pending) > threads:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            stop.set()  # after an error or Ctrl-C: the others end soon, and leave nothing


def _submit(
    pool: ThreadPoolExecutor, piece: Piece, directory: Path, origin: Origin, stop: Event
) -> Future[int]:
    return pool.submit(write_shard, directory, piece, origin.shard_records, origin.features, stop)


def _is_whole(directory: Path, shard: int, rows: int) -> bool:
    """Whether a shard of so many rows is there; it was renamed when it was whole."""
    path = shard_path(directory, shard)
    if not path.exists():
        return False
    try:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
        count = reader.num_records()
        reader.close()
    except Exception:  # damaged since: it is written anew
        return False
    return count == -(-rows // RECORD_ROWS)


def _remove_temporaries(directory: Path) -> None:
    """What killed processes have left; those that still run keep theirs."""
    for path in directory.glob(".*.shard-*"):
        process = path.name.split(".")[1]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.isdigit():
                os.kill(int(process), 0)
                continue
        path.unlink(missing_ok=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
