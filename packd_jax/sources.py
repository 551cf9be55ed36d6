"""Trace files of a study, or the embedded workload: in memory, or known by name if too long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packd_jax import processes
from packd_jax.config import FeatureConfig, StreamConfig, TraceConfig
from packd_jax.shards.encode_trace import encode_trace, trace_origin
from packd_jax.shards.index import INDEX
from packd_jax.shards.store import ShardStore
from packd_jax.traces.byte_source import open_trace
from packd_jax.traces.gather import gather
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.mldpc import write_trace
from packd_jax.traces.read_trace import read_trace, trace_chunks
from packd_jax.traces.workloads import record_workload

Progress = Callable[[float], None]  # told the share that is done


@dataclass(frozen=True)
class Source:
    """A trace and the file it is in."""

    path: str
    sha256: str
    trace: LoadTrace

    @property
    def rows(self) -> int:
        return self.trace.rows


@dataclass(frozen=True)
class LongSource:
    """A trace that is not held in memory: its file, and where shards of it are kept."""

    path: str
    sha256: str
    rows: int
    shards: Path  # one directory in it for each encoding
    threads: int  # that encode; 0: one a core

    def store(self, features: FeatureConfig, progress: Progress | None = None) -> ShardStore:
        """The trace encoded by `features`, now or before; see `encode_trace`."""
        origin = trace_origin(self.path, features, sha256=self.sha256)
        directory = self.shards / origin.key
        if processes.is_first():
            encode_trace(origin, directory, self.threads, progress)
        processes.wait("the trace is encoded")
        return ShardStore(directory)


AnySource = Source | LongSource


def load_sources(
    config: TraceConfig, workdir: Path, progress: Progress | None = None
) -> list[Source]:
    """The traces of a study in memory: the files given, or the workload recorded into the workdir.

    Raises TraceError for a file that is no trace.
    """
    paths = _paths(config, workdir, progress)
    traces = [read_trace(path) for path in paths]  # first, for it says what is wrong with a file
    return [Source(path, _sha256(path), trace) for path, trace in zip(paths, traces)]


def open_sources(
    config: TraceConfig, stream: StreamConfig, workdir: Path, progress: Progress | None = None
) -> Sequence[AnySource]:
    """As `load_sources`, but traces of more than `stream.in_memory_rows` rows, all together, are
    only counted: all of them are then long, and will be encoded to shards.

    They are not even counted again where shards of them have been made before.
    """
    paths = _paths(config, workdir, progress)
    shards = Path(stream.directory) if stream.directory else workdir / "shards"
    hashes = [_sha256(path) for path in paths]
    known = _known_rows(shards)
    counts = [known.get(sha256, 0) for sha256 in hashes]
    sources: list[Source] = []
    for i, (path, sha256) in enumerate(zip(paths, hashes)):
        if sum(counts) > stream.in_memory_rows:
            counts[i] = counts[i] or sum(chunk.rows for chunk in _chunks(path))
            continue
        others = sum(counts) - counts[i]
        trace, counts[i] = _gather_or_count(path, stream.in_memory_rows - others)
        if trace is not None:
            sources.append(Source(path, sha256, trace))
    if sum(counts) <= stream.in_memory_rows:
        return sources
    return [
        LongSource(path, sha256, rows, shards, stream.threads)
        for path, sha256, rows in zip(paths, hashes, counts)
    ]


def _paths(config: TraceConfig, workdir: Path, progress: Progress | None) -> list[str]:
    if config.paths:
        return list(config.paths)
    path = workdir / "trace.txt.gz"
    if processes.is_first() and not path.exists():
        write_trace(path, record_workload(config.workload, progress))
    processes.wait("the trace is recorded")
    return [str(path)]


def _gather_or_count(path: str, most: int) -> tuple[LoadTrace | None, int]:
    """The trace if it has at most so many rows, and how many it has."""
    chunks, rows = _chunks(path), 0

    def first_rows() -> Iterator[LoadTrace]:
        nonlocal rows
        for chunk in chunks:
            rows += chunk.rows
            if rows > most:
                return
            yield chunk

    trace = gather(first_rows())
    if rows <= most:
        return trace, rows
    del trace
    return None, rows + sum(chunk.rows for chunk in chunks)


def _chunks(path: str) -> Iterator[LoadTrace]:
    with open_trace(path) as file:
        yield from trace_chunks(file, path)


def _known_rows(shards: Path) -> dict[str, int]:
    """Rows of the traces that there are whole shards of, by hash."""
    known = {}
    for path in shards.glob(f"*/{INDEX}"):
        try:
            index = json.loads(path.read_text())
            known[index["trace"]["sha256"]] = index["facts"]["rows"]
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not whole, or damaged: who reads it will be told
    return known


def _sha256(path: str) -> str:
    with open_trace(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
