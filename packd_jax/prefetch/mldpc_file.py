"""The prefetch file of the ML data prefetching competition, which its ChampSim reads.

One prefetch a line, `"<decimal instruction id> <hexadecimal byte address without 0x>"`. The
simulator prefetches up to two of the addresses of an id when a load of that id reaches the LLC.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import njit

from packd_jax.staged_file import staged
from packd_jax.traces.load_trace import LoadTrace, TraceError, window_rows

PER_ID = 2  # prefetches of an id that the simulator uses
MAX_LINE_BYTES = 256
CHUNK_BYTES = 1 << 20
BLOCK_ROWS = 1 << 15  # formatted at a time
ROW_BYTES = PER_ID * 38  # an int64, a blank, a uint64 in hexadecimal, a newline
COLUMNS = "'<instruction id> <address>'"

_NEWLINE, _RETURN, _TAB, _SPACE, _ZERO, _LOWER_A, _UPPER_A = b"\n\r\t 0aA"


class PrefetchFile(NamedTuple):
    """Prefetches in the order of the file; both of length M."""

    instr_id: np.ndarray  # i64[M]
    address: np.ndarray  # u64[M], bytes


def write_prefetch_file(
    path: str | os.PathLike, trace: LoadTrace, blocks: np.ndarray, from_instr: int = 0
) -> int:
    """Writes `blocks` i64[N, degree], chosen at each load of `trace`; returns the lines written.

    Values below 1 stand for no prefetch; the first two different blocks of a load are written,
    in trace order, for loads with ids from `from_instr` on. The simulator sees only ids: of
    loads with one id (an access across two blocks, a load looked up again) the first speaks for
    all, since prefetches of later ones would leave before they could be known. The file appears
    whole or not at all. Raises ValueError for another shape, TraceError where it cannot be
    written.
    """
    if blocks.ndim != 2 or len(blocks) != trace.rows or blocks.dtype.kind not in "iu":
        raise ValueError(
            f"blocks: {blocks.dtype}{list(blocks.shape)}; expected integers [{trace.rows}, degree]"
        )
    if blocks.max(initial=0) >= 1 << 58:
        raise ValueError(f"blocks: {blocks.max()}; expected block numbers, addresses >> 6")
    last = int(trace.instr_id.max(initial=-1))
    rows = np.arange(trace.rows)[window_rows(trace, from_instr, last + 1, "instructions")]
    rows = rows[trace.instr_id[rows] >= from_instr]
    _, first = np.unique(trace.instr_id[rows], return_index=True)
    rows = rows[np.sort(first)]
    lines = 0
    try:
        with staged(path) as temporary, open(temporary, "wb") as file:
            out = np.empty(BLOCK_ROWS * ROW_BYTES, np.uint8)
            for start in range(0, len(rows), BLOCK_ROWS):
                some = rows[start : start + BLOCK_ROWS]
                chosen = np.ascontiguousarray(blocks[some], np.int64)
                written, length = _format(trace.instr_id[some], chosen, out)
                file.write(out[:length].data)
                lines += written
    except OSError as error:
        given = f"cannot be written ({error.strerror or error})"
        raise TraceError(path, "file", given, "a file name in a writable folder") from error
    return lines


@njit(cache=True, nogil=True)
def _format(instr_id, blocks, out):
    """Writes the lines of some loads into `out`; returns their number and length in bytes."""
    lines = at = 0
    for row in range(len(instr_id)):
        before = count = 0
        for block in blocks[row]:
            if block <= 0 or block == before or count == PER_ID:
                continue
            before = block
            count += 1
            at = _put(out, at, np.uint64(instr_id[row]), np.uint64(10))
            out[at] = _SPACE
            at = _put(out, at + 1, np.uint64(block) << np.uint64(6), np.uint64(16))
            out[at] = _NEWLINE
            at += 1
        lines += count
    return lines, at


@njit(cache=True, nogil=True)
def _put(out, at, value, base):
    end, rest = at + 1, value // base
    while rest:
        end, rest = end + 1, rest // base
    for place in range(end - 1, at - 1, -1):
        digit = value % base
        out[place] = digit + np.uint64(_ZERO if digit < 10 else _LOWER_A - 10)
        value //= base
    return end


def read_prefetch_file(path: str | os.PathLike, trace: LoadTrace | None = None) -> PrefetchFile:
    """Reads a prefetch file; with `trace`, as one for that trace.

    Blank lines, blanks at the end of a line, CRLF, uppercase hexadecimal and a missing final
    newline are accepted. Raises TraceError for any other line, for an id with more than two
    prefetches, and for one that no load of `trace` has.
    """
    try:
        with open(path, "rb") as file:
            prefetches = parse_prefetches(iter(lambda: file.read(CHUNK_BYTES), b""), path)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        if isinstance(error, TraceError):
            raise
        given = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise TraceError(path, "file", given, "a readable prefetch file") from error
    ids, counts = np.unique(prefetches.instr_id, return_counts=True)
    if np.any(counts > PER_ID):
        worst = int(np.argmax(counts))
        given = f"{counts[worst]} prefetches of instruction id {ids[worst]}"
        raise TraceError(path, "the whole file", given, f"at most {PER_ID} an id")
    if trace is not None:
        unknown = ids[~np.isin(ids, trace.instr_id)]
        if len(unknown):
            given = f"instruction id {unknown[0]} ({len(unknown)} such)"
            raise TraceError(path, "the whole file", given, "ids of the trace's loads")
    return prefetches


def parse_prefetches(chunks: Iterable[bytes], path: str | os.PathLike) -> PrefetchFile:
    """The prefetches of consecutive pieces of a file's text; `path` only names it in errors."""
    columns = PrefetchFile(np.empty(0, np.int64), np.empty(0, np.uint64))
    rows = lines = 0
    rest = b""  # the last line so far, while its newline has not come
    for chunk in itertools.chain(chunks, [b"\n"]):
        text = rest + chunk
        whole = text.rfind(b"\n") + 1
        new_lines = text.count(b"\n")
        if rows + new_lines > len(columns.instr_id):
            for column in columns:  # realloc: no second copy is held
                column.resize(max(rows + new_lines, rows * 5 // 4), refcheck=False)
        rows, parsed = _parse(np.frombuffer(text, np.uint8, whole), *columns, rows)
        if parsed < whole:
            lines += text.count(b"\n", 0, parsed)
            line = text[parsed : text.index(b"\n", parsed)]
            raise TraceError(path, f"line {lines + 1}", *_explain(line))
        lines += new_lines
        rest = text[whole:]
        if len(rest) > MAX_LINE_BYTES:
            raise TraceError(path, f"line {lines + 1}", *_explain(rest))
    for column in columns:
        column.resize(rows, refcheck=False)
    return columns


@njit(cache=True, nogil=True)
def _parse(text, instr_id, address, row):
    """Parses `text`, whole lines, into the columns from `row` on.

    Returns the next row and the position reached: that of the first line refused, or the end.
    """
    start = 0
    while start < len(text):
        at = start
        if text[at] > _SPACE:
            value, at = _number(text, at, np.uint64(10), np.uint64(2**63 - 1))
            if at < 0 or text[at] != _SPACE:
                return row, start
            instr_id[row] = np.int64(value)
            value, at = _number(text, at + 1, np.uint64(16), np.uint64(2**64 - 1))
            if at < 0:
                return row, start
            address[row] = value
            row += 1
        while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
            at += 1
        if text[at] != _NEWLINE or at - start > MAX_LINE_BYTES:
            return row, start
        start = at + 1
    return row, start


@njit(cache=True, nogil=True)
def _number(text, begin, base, largest):
    """A number up to `largest` and the position after it; -1 where there is none."""
    value, at = np.uint64(0), begin
    while True:
        digit = _digit(text[at])
        if digit >= base:
            return value, at if at > begin else -1
        if value > (largest - digit) // base:
            return value, -1
        value = value * base + digit
        at += 1


@njit(cache=True, nogil=True)
def _digit(character):
    """The value of a hexadecimal digit; 16 for anything else."""
    if _ZERO <= character < _ZERO + 10:
        return np.uint64(character - _ZERO)
    if _LOWER_A <= character < _LOWER_A + 6:
        return np.uint64(character - _LOWER_A + 10)
    if _UPPER_A <= character < _UPPER_A + 6:
        return np.uint64(character - _UPPER_A + 10)
    return np.uint64(16)


def _explain(line: bytes) -> tuple[str, str]:
    """What a refused line gives and what was expected."""
    shown = ascii(line[:40].decode("latin-1")) + ("..." if len(line) > 40 else "")
    if len(line) > MAX_LINE_BYTES:
        return f"a line that begins {shown}", f"lines of at most {MAX_LINE_BYTES} bytes"
    fields = line.rstrip(b" \t\r").split(b" ")
    if len(fields) != 2:
        return f"{len(fields)} column(s) in {shown}", f"2 columns {COLUMNS}, one blank between"
    if not fields[0] or fields[0].strip(b"0123456789"):
        return f"id in {shown}", "a decimal number without a sign"
    if int(fields[0]) >> 63:
        return f"id in {shown}", "a number below 2**63"
    if fields[1][:2] in (b"0x", b"0X"):
        return f"address in {shown}", "a hexadecimal number without 0x; remove the prefix"
    if not fields[1] or fields[1].strip(b"0123456789abcdefABCDEF"):
        return f"address in {shown}", "a hexadecimal number"
    return f"address in {shown}", "a number below 2**64"
