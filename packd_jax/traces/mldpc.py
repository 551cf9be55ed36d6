"""ML-DPC text, the load traces of the ML data prefetching competition: one load a line.

`instr_id, cycle, ADDR, IP, hit`: ids and cycles decimal, ADDR and IP hexadecimal without 0x,
hit 0 or 1. Lines that begin with `***` or `Read` are the simulator's comments.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numba
import numpy as np

from packd_jax.traces.gather import DTYPES, empty_loads, gather
from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.text_lines import MAX_LINE_BYTES as MAX_LINE_BYTES
from packd_jax.traces.text_lines import (
    NEWLINE,
    SPACE,
    decimal,
    end_line,
    hexadecimal,
    parse_lines,
    shown,
    skip_line,
)

COLUMNS = "instr_id, cycle, ADDR, IP, hit"
ROW_BYTES = 80  # two int64 and two uint64 at their longest, hit, separators, newline
BLOCK_ROWS = 1 << 15  # parsed or formatted at a time

_COMMA, _ZERO = b",0"
_STAR, _R, _E, _A, _D = b"*Read"
_SIGN = np.uint64(63)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def is_mldpc(head: bytes) -> bool:
    """Whether the beginning of a file looks like ML-DPC text, well-formed or not."""
    for line in head.split(b"\n"):
        if line.strip(b" \t\r") and not line.startswith((b"***", b"Read")):
            return b", " in line or line[:1].isdigit()
    return True


def read_mldpc(chunks: Iterable[bytes], path: str | os.PathLike) -> LoadTrace:
    """All of `mldpc_loads` as one trace."""
    return gather(mldpc_loads(chunks, path))


def mldpc_loads(chunks: Iterable[bytes], path: str | os.PathLike) -> Iterator[LoadTrace]:
    """Reads a trace from consecutive pieces of its text; `path` only names it in errors.

    Blank lines, blanks at the end of a line, CRLF, uppercase hexadecimal and a missing final
    newline are accepted. Raises TraceError for any other line, and when there is no load.
    """
    columns = empty_loads(BLOCK_ROWS)
    rows = 0
    for rows in parse_lines(chunks, path, columns, 1, _parse, _explain):
        yield LoadTrace(*(column[:rows].copy() for column in columns))
    if rows == 0:
        raise TraceError(path, "the whole file", "no load", f"lines '{COLUMNS}' (ML-DPC text)")


@numba.njit(cache=True, nogil=True)
def _parse(text, at, instr_id, cycle, address, pc, hit, row):
    """See `parse_lines`. A number that is refused continues at the final newline, which no
    column accepts, so that the columns after it are refused too."""
    while at < len(text) and row < len(hit):
        start, loads = at, 0
        if _is_comment(text, at):
            at = skip_line(text, at)
        elif text[at] > SPACE:
            instr_id[row], at = _signed(text, at)
            cycle[row], at = _signed(text, at)
            address[row], at = _hexadecimal(text, at)
            pc[row], at = _hexadecimal(text, at)
            if text[at] != _ZERO and text[at] != _ZERO + 1:
                return row, start
            hit[row] = text[at] != _ZERO
            loads = 1
            at += 1
        at = end_line(text, start, at)
        if at < 0:
            return row, start
        row += loads
    return row, at


@numba.njit
def _is_comment(text, at):
    if text[at] == _STAR:
        return text[at + 1] == _STAR and text[at + 2] == _STAR
    return text[at] == _R and text[at + 1] == _E and text[at + 2] == _A and text[at + 3] == _D


@numba.njit
def _signed(text, begin):
    """A decimal number up to 2**63 - 1 and the position of the next column."""
    value, end = decimal(text, begin)
    return np.int64(value), _next_column(text, begin, begin if value >> _SIGN else end)


@numba.njit
def _hexadecimal(text, begin):
    """A hexadecimal number and the position of the next column."""
    value, end = hexadecimal(text, begin)
    return value, _next_column(text, begin, end)


@numba.njit
def _next_column(text, begin, end):
    """The position after digits [begin, end) and ", "; without them, the final newline's."""
    if end > begin and text[end] == _COMMA and text[end + 1] == SPACE:
        return end + 2
    return len(text) - 1


def _explain(line: bytes) -> tuple[str, str]:
    """What a refused line gives and what was expected; the slow path, so it may take its time."""
    fields = line.rstrip(b" \t\r").split(b", ")
    if len(fields) != 5:
        return f"{len(fields)} column(s) in {shown(line)}", f"5 columns '{COLUMNS}'"
    signed = (b"0123456789", 10, 63, "a decimal number without a sign")
    unsigned = (b"0123456789abcdefABCDEF", 16, 64, "a hexadecimal number without 0x")
    kinds = (signed, signed, unsigned, unsigned)
    for name, field, (digits, base, bits, expected) in zip(COLUMNS.split(", "), fields, kinds):
        if field[:2] in (b"0x", b"0X"):
            return f"{name} = {shown(field)}", f"{expected}; remove the prefix"
        if not field or field.strip(digits):
            return f"{name} = {shown(field)}", expected
        if int(field, base) >> bits:
            return f"{name} = {shown(field)}", f"a number below 2**{bits}"
    return f"hit = {shown(fields[4])}", "0 or 1"


def write_trace(path: str | os.PathLike, trace: LoadTrace) -> None:
    """Writes one whole trace; see `write_chunks`."""
    write_chunks(path, [trace])


def write_chunks(path: str | os.PathLike, chunks: Iterable[LoadTrace]) -> int:
    """Writes ML-DPC text, compressed where `path` ends in .xz or .gz; read_trace gives it back.

    The chunks are consecutive pieces of one trace; returns how many loads they hold. The file
    appears whole or not at all. Raises TraceError for a trace that the format cannot hold (wrong
    dtype, unequal lengths, no load, a negative id or cycle) and where the file cannot be written.
    """
    target = Path(path)
    part = target.parent / f".{secrets.token_hex(8)}.part"
    rows = 0
    out = np.empty(BLOCK_ROWS * ROW_BYTES, np.uint8)
    try:
        with open(part, "xb") as file, _compressor(file, target.suffix) as stream:
            for trace in chunks:
                _check(path, trace, rows)
                for start in range(0, trace.rows, BLOCK_ROWS):
                    rows_of_block = trace.take(slice(start, start + BLOCK_ROWS))
                    block = LoadTrace(*map(np.ascontiguousarray, rows_of_block))
                    length = _format(*block, out)
                    stream.write(out[:length].data)
                rows += trace.rows
            if rows == 0:
                raise TraceError(path, "trace", "no load", "at least one load")
        os.replace(part, target)
    except OSError as error:
        given = f"cannot be written ({error.strerror or error})"
        raise TraceError(path, "file", given, "a file name in a writable folder") from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            part.unlink()
    return rows


def _check(path: str | os.PathLike, trace: LoadTrace, rows_before: int) -> None:
    for name, column, dtype in zip(LoadTrace._fields, trace, DTYPES):
        if column.dtype != dtype or column.shape != (trace.rows,):
            given = f"{column.dtype}{list(column.shape)}"
            raise TraceError(path, f"column {name}", given, f"{dtype}[{trace.rows}]")
        if dtype == np.int64 and np.any(column < 0):
            row = int(np.argmax(column < 0))
            raise TraceError(
                path, f"row {rows_before + row}", f"{name} = {column[row]}", "0 or more"
            )


def _compressor(file: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[Any]:
    if suffix == ".xz":  # preset 6 writes 0.7 times the bytes in 20 times the time
        return lzma.LZMAFile(file, "wb", preset=0)
    if suffix == ".gz":  # neither name nor time in the header: equal traces make equal files
        return gzip.GzipFile("", "wb", 6, file, mtime=0)
    return contextlib.nullcontext(file)


@numba.njit(cache=True, nogil=True)
def _format(instr_id, cycle, address, pc, hit, out):
    """Writes the rows' lines into `out`; returns their length in bytes."""
    at = 0
    for row in range(len(hit)):
        at = _put(out, at, np.uint64(instr_id[row]), np.uint64(10))
        at = _put(out, at, np.uint64(cycle[row]), np.uint64(10))
        at = _put(out, at, address[row], np.uint64(16))
        at = _put(out, at, pc[row], np.uint64(16))
        out[at] = _ZERO + hit[row]
        out[at + 1] = NEWLINE
        at += 2
    return at


@numba.njit
def _put(out, at, value, base):
    end, rest = at + 1, value // base
    while rest:
        end, rest = end + 1, rest // base
    for i in range(end - 1, at - 1, -1):
        out[i] = _DIGITS[value % base]
        value //= base
    out[end] = _COMMA
    out[end + 1] = SPACE
    return end + 2
