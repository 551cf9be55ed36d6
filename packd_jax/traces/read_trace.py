"""One reader for every trace file: compression and format are recognised by content."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.mldpc import is_mldpc, read_mldpc

CHUNK_BYTES = 1 << 20  # decompressed and held at a time
HEAD_BYTES = 1 << 14  # what a format is recognised by


class TraceFormat(NamedTuple):
    """How a format is recognised by the first bytes of a file, and read from its chunks."""

    name: str
    recognise: Callable[[bytes], bool]
    read: Callable[[Iterable[bytes], str | os.PathLike], LoadTrace]


FORMATS = (TraceFormat("ML-DPC text", is_mldpc, read_mldpc),)  # the first that recognises reads


def read_trace(path: str | os.PathLike) -> LoadTrace:
    """Reads a trace file, plain or compressed (gzip, xz), whatever its name.

    Memory stays near the size of the result. Raises TraceError for a file that cannot be
    opened, is truncated or damaged, or holds anything but a trace.
    """
    with _open(path) as file:
        return read_trace_file(file, path)


def read_trace_file(file: io.BufferedReader, path: str | os.PathLike) -> LoadTrace:
    """Reads a trace from an open binary file; `path` only names it in errors."""
    chunks = _chunks(file, path)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    for trace_format in FORMATS:
        if trace_format.recognise(head):
            return trace_format.read(itertools.chain([head], chunks), path)
    names = " or ".join(trace_format.name for trace_format in FORMATS)
    raise TraceError(path, "beginning of the file", repr(head[:15])[1:], names)


def _open(path: str | os.PathLike) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        given = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
        raise TraceError(path, "file", given, "a readable trace file") from error


def _chunks(file: io.BufferedReader, path: str | os.PathLike) -> Iterator[bytes]:
    """The decompressed contents, piece by piece: what lies before damage comes before the error."""
    kind, lines = "file", 0
    try:
        kind, stream = _decompressor(file)
        while chunk := stream.read1(CHUNK_BYTES):
            lines += chunk.count(b"\n")
            yield chunk
    except EOFError as error:
        raise TraceError(
            path, f"after line {lines}", f"truncated {kind}", "the rest of it; copy the file again"
        ) from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        given = f"damaged {kind} ({error})"
        expected = "an intact file; copy it again"
        raise TraceError(path, f"after line {lines}", given, expected) from error


def _decompressor(file: io.BufferedReader) -> tuple[str, Any]:
    magic = file.peek(6)
    if magic.startswith(b"\xfd7zXZ\0"):
        return "xz data", lzma.LZMAFile(file, format=lzma.FORMAT_XZ)
    if magic.startswith(b"\x1f\x8b"):
        return "gzip data", gzip.GzipFile(fileobj=file)
    return "file", file
