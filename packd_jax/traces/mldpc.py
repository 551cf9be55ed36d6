"""ML-DPC text, the load traces of the ML data prefetching competition: one load a line.

`instr_id, cycle, ADDR, IP, hit`: ids and cycles decimal, ADDR and IP hexadecimal without 0x,
hit 0 or 1. Lines that begin with `***` or `Read` are the simulator's comments.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import lzma
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numba
import numpy as np

from packd_jax.traces.load_trace import LoadTrace, TraceError

COLUMNS = "instr_id, cycle, ADDR, IP, hit"
DTYPES = tuple(np.dtype(name) for name in ("int64", "int64", "uint64", "uint64", "bool"))
MAX_LINE_BYTES = 4096  # a longer line is no load, and would have to be held in memory
ROW_BYTES = 80  # two int64 and two uint64 at their longest, hit, separators, newline
BLOCK_ROWS = 1 << 15  # formatted at a time

_NEWLINE, _RETURN, _TAB, _SPACE, _COMMA, _ZERO = b"\n\r\t ,0"
_STAR, _R, _E, _A, _D = b"*Read"
_INT64_TENTH = (2**63 - 1) // 10
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_NIBBLE = np.full(256, 16, np.uint8)  # value of a hexadecimal digit of either case; 16: none
_NIBBLE[list(b"0123456789ABCDEF")] = _NIBBLE[list(b"0123456789abcdef")] = range(16)


def is_mldpc(head: bytes) -> bool:
    """Whether the beginning of a file looks like ML-DPC text, well-formed or not."""
    for line in head.split(b"\n"):
        if line.strip(b" \t\r") and not line.startswith((b"***", b"Read")):
            return b", " in line or line[:1].isdigit()
    return True


def read_mldpc(chunks: Iterable[bytes], path: str | os.PathLike) -> LoadTrace:
    """Reads a trace from consecutive pieces of its text; `path` only names it in errors.

    Blank lines, blanks at the end of a line, CRLF, uppercase hexadecimal and a missing final
    newline are accepted. Raises TraceError for any other line, and when there is no load.
    """
    columns = LoadTrace(*(np.empty(0, dtype) for dtype in DTYPES))
    rows = lines = 0
    rest = b""  # the last line so far, while its newline has not come
    for chunk in itertools.chain(chunks, [b"\n"]):
        text = rest + chunk
        whole = text.rfind(b"\n") + 1
        new_lines = text.count(b"\n")
        _reserve(columns, rows + new_lines)
        rows, parsed = _parse(np.frombuffer(text, np.uint8, whole), *columns, rows)
        if parsed < whole:
            lines += text.count(b"\n", 0, parsed)
            line = text[parsed : text.index(b"\n", parsed)]
            raise TraceError(path, f"line {lines + 1}", *_explain(line))
        lines += new_lines
        rest = text[whole:]
        if len(rest) > MAX_LINE_BYTES:
            raise TraceError(path, f"line {lines + 1}", *_explain(rest))
    if rows == 0:
        raise TraceError(path, "the whole file", "no load", f"lines '{COLUMNS}' (ML-DPC text)")
    for column in columns:
        column.resize(rows, refcheck=False)
    return columns


def _reserve(columns: LoadTrace, rows: int) -> None:
    # resize() is realloc: large arrays grow where they are, so no second copy is ever held.
    if rows > columns.rows:
        rows = max(rows, columns.rows * 5 // 4)
        for column in columns:
            column.resize(rows, refcheck=False)


@numba.njit(cache=True, nogil=True)
def _parse(text, instr_id, cycle, address, pc, hit, row):
    """Parses `text`, whole lines, into the columns from `row` on.

    Returns the next row and the position reached: that of the first line refused, or the end.
    The final newline bounds every scan, since no column accepts it; a number that is refused
    continues there, so that the columns after it are refused too.
    """
    start = 0
    while start < len(text):
        at = start
        if _is_comment(text, at):
            while text[at] != _NEWLINE:
                at += 1
        elif text[at] > _SPACE:
            instr_id[row], at = _decimal(text, at)
            cycle[row], at = _decimal(text, at)
            address[row], at = _hexadecimal(text, at)
            pc[row], at = _hexadecimal(text, at)
            if text[at] != _ZERO and text[at] != _ZERO + 1:
                return row, start
            hit[row] = text[at] != _ZERO
            row += 1
            at += 1
        while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
            at += 1
        if text[at] != _NEWLINE or at - start > MAX_LINE_BYTES:
            return row, start
        start = at + 1
    return row, start


@numba.njit
def _is_comment(text, at):
    if text[at] == _STAR:
        return text[at + 1] == _STAR and text[at + 2] == _STAR
    return text[at] == _R and text[at + 1] == _E and text[at + 2] == _A and text[at + 3] == _D


@numba.njit
def _decimal(text, begin):
    """A decimal number up to 2**63 - 1 and the position of the next column."""
    value, at = np.int64(0), begin
    digit = np.int64(text[at]) - _ZERO
    while 0 <= digit <= 9:
        if value >= _INT64_TENTH and (value > _INT64_TENTH or digit > 7):
            return value, len(text) - 1
        value = value * 10 + digit
        at += 1
        digit = np.int64(text[at]) - _ZERO
    return value, _next_column(text, begin, at)


@numba.njit
def _hexadecimal(text, begin):
    """A hexadecimal number up to 2**64 - 1 and the position of the next column."""
    value, at = np.uint64(0), begin
    while _NIBBLE[text[at]] < 16:
        if value >> np.uint64(60):
            return value, len(text) - 1
        value = (value << np.uint64(4)) | np.uint64(_NIBBLE[text[at]])
        at += 1
    return value, _next_column(text, begin, at)


@numba.njit
def _next_column(text, begin, end):
    """The position after digits [begin, end) and ", "; without them, the final newline's."""
    if end > begin and text[end] == _COMMA and text[end + 1] == _SPACE:
        return end + 2
    return len(text) - 1


def _explain(line: bytes) -> tuple[str, str]:
    """What a refused line gives and what was expected; the slow path, so it may take its time."""
    if len(line) > MAX_LINE_BYTES:
        return f"a line that begins {_shown(line)}", f"lines of at most {MAX_LINE_BYTES} bytes"
    fields = line.rstrip(b" \t\r").split(b", ")
    if len(fields) != 5:
        return f"{len(fields)} column(s) in {_shown(line)}", f"5 columns '{COLUMNS}'"
    decimal = (b"0123456789", 10, 63, "a decimal number without a sign")
    hexadecimal = (b"0123456789abcdefABCDEF", 16, 64, "a hexadecimal number without 0x")
    kinds = (decimal, decimal, hexadecimal, hexadecimal)
    for name, field, (digits, base, bits, expected) in zip(COLUMNS.split(", "), fields, kinds):
        if field[:2] in (b"0x", b"0X"):
            return f"{name} = {_shown(field)}", f"{expected}; remove the prefix"
        if not field or field.strip(digits):
            return f"{name} = {_shown(field)}", expected
        if int(field, base) >> bits:
            return f"{name} = {_shown(field)}", f"a number below 2**{bits}"
    return f"hit = {_shown(fields[4])}", "0 or 1"


def _shown(text: bytes) -> str:
    shown = repr(text[:64])[1:]
    return shown if len(text) <= 64 and len(shown) <= 62 else f"{shown[:58]}..."


def write_trace(path: str | os.PathLike, trace: LoadTrace) -> None:
    """Writes ML-DPC text, compressed where `path` ends in .xz or .gz; read_trace gives it back.

    The file appears whole or not at all. Raises TraceError for a trace that the format cannot
    hold (wrong dtype, unequal lengths, no load, a negative id or cycle) and where the file
    cannot be written.
    """
    for name, column, dtype in zip(LoadTrace._fields, trace, DTYPES):
        if column.dtype != dtype or column.shape != (trace.rows,):
            given = f"{column.dtype}{list(column.shape)}"
            raise TraceError(path, f"column {name}", given, f"{dtype}[{trace.rows}]")
        if dtype == np.int64 and np.any(column < 0):
            row = int(np.argmax(column < 0))
            raise TraceError(path, f"row {row}", f"{name} = {column[row]}", "0 or more")
    if trace.rows == 0:
        raise TraceError(path, "trace", "no load", "at least one load")
    target = Path(path)
    part = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(part, "xb") as file, _compressor(file, target.suffix) as stream:
            out = np.empty(BLOCK_ROWS * ROW_BYTES, np.uint8)
            for start in range(0, trace.rows, BLOCK_ROWS):
                rows = slice(start, start + BLOCK_ROWS)
                block = LoadTrace(*map(np.ascontiguousarray, trace.take(rows)))
                length = _format(*block, out)
                stream.write(out[:length].data)
        os.replace(part, target)
    except OSError as error:
        given = f"cannot be written ({error.strerror or error})"
        raise TraceError(path, "file", given, "a file name in a writable folder") from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            part.unlink()


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
        out[at + 1] = _NEWLINE
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
    out[end + 1] = _SPACE
    return end + 2
