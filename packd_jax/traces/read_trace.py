"""One reader for every trace file: compression and format are recognised by content."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from packd_jax.config import CACHE_PRESETS, CacheConfig
from packd_jax.traces.accesses import Accesses
from packd_jax.traces.byte_source import byte_chunks, open_trace
from packd_jax.traces.cache import CacheFilter
from packd_jax.traces.champsim import is_champsim, read_champsim
from packd_jax.traces.csv_header import is_csv
from packd_jax.traces.csv_loads import read_csv
from packd_jax.traces.dynamorio import is_dynamorio, read_dynamorio
from packd_jax.traces.gather import gather
from packd_jax.traces.lackey import is_lackey, read_lackey
from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.mldpc import is_mldpc, mldpc_loads

HEAD_BYTES = 1 << 14  # what a format is recognised by
Chunks = Iterator[Accesses] | Iterator[LoadTrace]


class TraceFormat(NamedTuple):
    """How a format is recognised by the first bytes of a file, and read from its chunks."""

    title: str
    recognise: Callable[[bytes], bool]
    read: Callable[[Iterable[bytes], str | os.PathLike], Chunks]


FORMATS = {  # the first that recognises a file reads it
    f"champsim{size}": TraceFormat(
        f"ChampSim records of {size} bytes",
        partial(is_champsim, record_bytes=size),
        partial(read_champsim, record_bytes=size),
    )
    for size in (64, 96)
} | {
    "lackey": TraceFormat("Valgrind lackey", is_lackey, read_lackey),
    "dynamorio": TraceFormat("DynamoRIO view", is_dynamorio, read_dynamorio),
    "csv": TraceFormat("CSV with named columns", is_csv, read_csv),
    "mldpc": TraceFormat("ML-DPC text", is_mldpc, mldpc_loads),
}


def read_trace(
    path: str | os.PathLike,
    cache: CacheConfig = CACHE_PRESETS["ml_dpc"],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> LoadTrace:
    """Reads a trace file, plain or compressed (gzip, xz), whatever its name.

    All accesses of a program (ChampSim records, lackey, DynamoRIO, CSV with stores) pass the
    caches of `cache`, cold at first, and become the loads of its LLC. `format` is a name in
    FORMATS or "auto": recognised by content. `columns` are those of a CSV file; see `read_csv`.

    Only loads of instructions [start, stop) are returned, in the sense of `window_rows`. Those
    before `start` fill the caches all the same; reading ends soon after `stop`. Memory stays
    near the size of the result. Raises TraceError for a file that cannot be opened, is truncated
    or damaged, holds anything but a trace, or no load in that window.
    """
    with open_trace(path) as file:
        return gather(
            trace_chunks(file, path, cache, format=format, columns=columns, start=start, stop=stop)
        )


def read_trace_file(file: io.BufferedReader, path: str | os.PathLike) -> LoadTrace:
    """Reads a trace from an open binary file; `path` only names it in errors."""
    return gather(trace_chunks(file, path))


def trace_chunks(
    file: io.BufferedReader,
    path: str | os.PathLike,
    cache: CacheConfig = CACHE_PRESETS["ml_dpc"],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[LoadTrace]:
    """What `read_trace` returns, piece by piece, from an open binary file, in bounded memory."""
    return filtered(_read(file, path, cache, format, columns), path, cache, start, stop)


def filtered(
    chunks: Chunks,
    path: str | os.PathLike,
    cache: CacheConfig,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[LoadTrace]:
    """Loads of instructions [start, stop): those of accesses pass `cache`, see `read_trace`."""
    cache_filter, rows = CacheFilter(cache), 0
    latest = -1  # a window is one of running maxima of instruction ids
    for chunk in chunks:
        loads = cache_filter(chunk) if isinstance(chunk, Accesses) else chunk
        if start > 0 or stop is not None:
            ids = np.maximum(np.maximum.accumulate(loads.instr_id), latest)
            last = loads.rows if stop is None else np.searchsorted(ids, stop)
            loads = loads.take(slice(np.searchsorted(ids, start), last))
            latest = max(latest, int(chunk.instr_id.max()))
        if loads.rows:
            yield loads
            rows += loads.rows
        if stop is not None and latest >= stop:
            break
    if rows == 0:
        where = f"instructions from {start} " + ("on" if stop is None else f"to {stop - 1}")
        expected = "at least one; another window, a longer trace or smaller caches"
        raise TraceError(path, where, "no load that reaches the LLC", expected)


def _read(
    file: io.BufferedReader,
    path: str | os.PathLike,
    cache: CacheConfig,
    name: str,
    columns: Mapping[str, str] | None,
) -> Chunks:
    chunks, head = byte_chunks(file, path), b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    if name == "auto":
        name = "csv" if columns else _recognise(head, path)
    if name not in FORMATS:
        raise TraceError(path, "format", f"{name!r}", f"auto, {', '.join(FORMATS)}")
    if columns and name != "csv":
        raise TraceError(path, "columns", f"named for the format {name}", "a CSV file")
    contents = itertools.chain([head], chunks)
    if name == "csv":
        return read_csv(contents, path, columns, cache)
    return FORMATS[name].read(contents, path)


def _recognise(head: bytes, path: str | os.PathLike) -> str:
    for name, trace_format in FORMATS.items():
        if trace_format.recognise(head):
            return name
    titles = " or ".join(trace_format.title for trace_format in FORMATS.values())
    raise TraceError(path, "beginning of the file", repr(head[:15])[1:], titles)
