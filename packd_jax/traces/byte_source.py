"""The bytes of a trace file, plain or compressed: which of them is told by content."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator

from packd_jax.traces.load_trace import TraceError

CHUNK_BYTES = 1 << 20  # decompressed and held at a time
XZ_MEMORY_BYTES = 1 << 28  # four times what xz -9 takes; a header may ask for 4 GiB


def open_trace(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a file for reading; TraceError where that cannot be."""
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        given = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
        raise TraceError(path, "file", given, "a readable trace file") from error


def byte_chunks(file: io.BufferedReader, path: str | os.PathLike) -> Iterator[bytes]:
    """The contents, decompressed, in pieces of up to 1 MiB; `path` only names them in errors.

    Concatenated gzip members and xz streams are one file. What lies before damage comes before
    the error: TraceError, with the lines read until then, or the bytes of what is no text.
    """
    magic = file.peek(6)
    kind = "file"
    size = lines = 0
    text = True
    try:
        if magic.startswith(b"\xfd7zXZ\0"):
            kind, chunks = "xz data", _xz_chunks(file)
        elif magic.startswith(b"\x1f\x8b"):
            kind, chunks = "gzip data", _read_all(gzip.GzipFile(fileobj=file))
        else:
            chunks = _read_all(file)
        for chunk in chunks:
            text = text and b"\0" not in chunk
            size += len(chunk)
            lines += chunk.count(b"\n")
            yield chunk
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        where = f"after line {lines}" if text else f"after byte {size}"
        if isinstance(error, EOFError):
            given, expected = f"truncated {kind}", "the rest of it; copy the file again"
        else:
            given, expected = f"damaged {kind} ({error})", "an intact file; copy it again"
        raise TraceError(path, where, given, expected) from error


def _read_all(file: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := file.read1(CHUNK_BYTES):
        yield chunk


def _xz_chunks(file: io.BufferedReader) -> Iterator[bytes]:
    """What lzma.LZMAFile gives, but within a memory limit and with an error for bad streams.

    LZMAFile takes a damaged second stream for the end of the file.
    """
    data = file.read(CHUNK_BYTES)
    while data:
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY_BYTES)
        while not stream.eof:
            if stream.needs_input and not data:
                data = file.read(CHUNK_BYTES)
                if not data:
                    raise EOFError
            chunk = stream.decompress(data, CHUNK_BYTES)
            data = b""
            if chunk:
                yield chunk
        data = stream.unused_data.lstrip(b"\0")  # streams may be padded
        while not data and (more := file.read(CHUNK_BYTES)):
            data = more.lstrip(b"\0")
