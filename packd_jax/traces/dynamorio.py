"""Text of DynamoRIO's `drmemtrace -tool view`: an instruction fetch or access a line.

`<record#> <instr#>: <tid> read 8 byte(s) @ 0xADDR by PC 0xPC`, and so for `write` and `ifetch`.
Older builds print no instr#, some print `T<tid>`, newer ones `W<workload>.T<tid>`: what stands
before the first word is not looked at but for instr#. Ignored are markers and other records in
`<...>`, lines of `-` or `=`, what the tool says about its output (`Output format:`, `View tool
results:`, `: total instructions`), prefetches and flushes (no demand accesses), and the bytes
of a long instruction that go on in the next line. Any other line is an error.

Threads are taken as they are interleaved in the file, like those of one core that switches
between them: one stream of accesses through one set of caches. For one thread alone, let the
tool pick it: `-only_thread <tid>`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial

import numba
import numpy as np

from packd_jax.traces.accesses import (
    MAX_ACCESS_BYTES,
    ROWS_AN_ACCESS,
    Accesses,
    access_chunks,
    crosses_end,
    empty_accesses,
    put_access,
)
from packd_jax.traces.text_lines import (
    NEWLINE,
    RETURN,
    SPACE,
    TAB,
    decimal,
    end_line,
    hexadecimal,
    matches,
    parse_lines,
    shown,
    skip_blanks,
    skip_line,
)


def _word(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


_READ, _WRITE, _IFETCH = _word(b"read"), _word(b"write"), _word(b"ifetch")
_BYTES_AT, _BY_PC = _word(b" byte(s) @ 0x"), _word(b"by PC 0x")
_PREFETCH, _IFLUSH, _DFLUSH = _word(b"pref"), _word(b"iflush"), _word(b"dflush")
_OUTPUT, _RESULTS = _word(b"Output format:"), _word(b"View tool results:")
_TOTAL = _word(b"total instructions")
_COLON, _T, _W, _LESS, _MINUS, _EQUALS, _0, _9, _A, _F = b":TW<-=09af"
_ZERO, _ONE, _MOST = np.uint64(0), np.uint64(1), np.uint64(MAX_ACCESS_BYTES)
_RECORD = re.compile(
    rb"(?:(ifetch)|read|write) *([0-9]*) byte\(s\) @ 0x([0-9a-fA-F]*)(?: +by PC 0x([0-9a-fA-F]+))?"
)


def is_dynamorio(head: bytes) -> bool:
    """Whether the beginning of a file looks like the view tool's text."""
    return b" byte(s) @ 0x" in head or b"<marker: " in head


def read_dynamorio(chunks: Iterable[bytes], path: str | os.PathLike) -> Iterator[Accesses]:
    """Reads accesses from consecutive pieces of text; `path` only names it in errors.

    Instruction ids count `ifetch` lines from 1. One with the instr# of that before it does not
    count: it is the next round of a `rep` instruction. Raises TraceError for a line that is
    neither a record nor ignored (see above) and where there is no access.
    """
    columns = empty_accesses()
    state = np.zeros(2, np.uint64)  # instructions so far, instr# of the last (0: not printed)
    parse = partial(_parse, state)
    fills = parse_lines(chunks, path, columns, ROWS_AN_ACCESS, parse, _explain)
    return access_chunks(fills, columns, path)


@numba.njit(cache=True, nogil=True)
def _parse(state, text, at, address, pc, is_store, instr_id, row):
    """See `parse_lines`."""
    while at < len(text) and row + ROWS_AN_ACCESS <= len(address):
        start, rows = at, row
        at, number = _prefix(text, at)
        if matches(text, at, _IFETCH) >= 0:
            first, size, at = _place(text, at + len(_IFETCH))
            if at < 0 or not _blank(text[at]):
                return row, start
            if number == _ZERO or number != state[1]:
                state[0] += _ONE
                state[1] = number
            at = skip_line(text, at)  # its disassembly
        elif matches(text, at, _READ) >= 0 or matches(text, at, _WRITE) >= 0:
            store = text[at] == _WRITE[0]
            first, size, at = _place(text, at + len(_WRITE if store else _READ))
            if at < 0:
                return row, start
            by_pc = matches(text, skip_blanks(text, at), _BY_PC)
            if by_pc < 0:
                return row, start
            at_pc, at = hexadecimal(text, by_pc)
            if at == by_pc:
                return row, start
            columns = (address, pc, is_store, instr_id)
            rows = put_access(*columns, row, first, size, at_pc, store, np.int64(state[0]))
        elif _is_ignored(text, at):
            at = skip_line(text, at)
        else:
            at = _skip_encoding(text, at)
        at = end_line(text, start, at)
        if at < 0:
            return row, start
        row = rows
    return row, at


@numba.njit
def _blank(byte):
    return byte in (SPACE, TAB, RETURN, NEWLINE)


@numba.njit
def _prefix(text, at):
    """The position of the first word after record#, instr# and tid, and instr# (0: none)."""
    number, before, numbers, is_open = _ZERO, _ZERO, 0, True
    while True:
        at = skip_blanks(text, at)
        if text[at] == _COLON:
            before = number if is_open and numbers == 2 else before
            is_open = False
            at += 1
        elif (text[at] == _T or text[at] == _W) and _0 <= text[at + 1] <= _9:
            while not _blank(text[at]):
                at += 1
        else:
            value, end = decimal(text, at)
            if end == at or not (_blank(text[end]) or text[end] == _COLON):
                return at, before
            number, numbers, at = value, numbers + 1, end


@numba.njit
def _place(text, at):
    """The address and size in `  8 byte(s) @ 0xADDR`, and the position after it; -1: none."""
    begin = skip_blanks(text, at)
    size, end = decimal(text, begin)
    address = matches(text, end, _BYTES_AT)
    if begin == at or address < 0 or size < _ONE or size > _MOST:
        return _ZERO, size, -1
    first, end = hexadecimal(text, address)
    if end == address or crosses_end(first, size):
        return first, size, -1
    return first, size, end


@numba.njit
def _is_ignored(text, at):
    first = text[at]
    if first in (_LESS, _MINUS, _EQUALS):
        return True
    for word in (_OUTPUT, _RESULTS, _TOTAL, _PREFETCH, _IFLUSH, _DFLUSH):
        if matches(text, at, word) >= 0:
            return True
    return False


@numba.njit
def _skip_encoding(text, at):
    """The position after bytes such as `0f 1a`, two digits each, with blanks between them."""
    while _is_digit(text[at]) and _is_digit(text[at + 1]) and _blank(text[at + 2]):
        at = skip_blanks(text, at + 2)
    return at


@numba.njit
def _is_digit(byte):
    return _0 <= byte <= _9 or _A <= byte <= _F


def _explain(line: bytes) -> tuple[str, str]:
    match = _RECORD.search(line)
    if match is None:
        return shown(line), (
            "a record such as 'read 8 byte(s) @ 0xADDR by PC 0xPC', or a marker in <>; keep what "
            "the program prints out of the file"
        )
    fetch, size, address, pc = match.groups()
    if not size or not 1 <= int(size) <= MAX_ACCESS_BYTES:
        return f"size = {shown(size)}", f"1 to {MAX_ACCESS_BYTES} byte(s)"
    if not address or int(address, 16) + int(size) > 1 << 64:
        return f"address 0x{shown(address)[1:-1]}", "an access that ends before address 2**64"
    if fetch is None and (pc is None or int(pc, 16) >> 64):
        return shown(line), "'by PC 0xPC', a number below 2**64 (DynamoRIO 9 and later print it)"
    return shown(line), "'<record#> <instr#>: <tid> read 8 byte(s) @ 0xADDR by PC 0xPC', no more"
