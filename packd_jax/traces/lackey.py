"""Text of Valgrind's lackey (--tool=lackey --trace-mem=yes): an instruction or access a line.

`I  ADDR,size` is an instruction, ` L ADDR,size` a load, ` S ADDR,size` a store and
` M ADDR,size` a load and then a store of the instruction before it; addresses are hexadecimal
without 0x. Blank lines, what Valgrind says (lines that begin with `==`, `--` or `**`) and the
superblocks of --trace-superblocks (`SB ADDR`) are ignored; any other line is an error.
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
    SPACE,
    decimal,
    end_line,
    hexadecimal,
    parse_lines,
    shown,
    skip_line,
)

_ROWS_A_LINE = 2 * ROWS_AN_ACCESS
_COMMA, _I, _L, _S, _M, _B = b",ILSMB"
_EQUALS, _MINUS, _STAR = b"=-*"
_ONE, _MOST = np.uint64(1), np.uint64(MAX_ACCESS_BYTES)
_NOISE = (b"==", b"--", b"**", b"SB ")
_LINE = re.compile(rb"(I  | [LSM] )([0-9a-fA-F]+),([0-9]+)[ \t\r]*")


def is_lackey(head: bytes) -> bool:
    """Whether the beginning of a file looks like lackey's text, or at least like Valgrind's."""
    noise = False
    for line in head.split(b"\n"):
        if line.startswith(_NOISE[:2]):
            noise = True
        elif line.strip(b" \t\r") and not line.startswith(_NOISE):
            return re.match(rb"(I  | [LSM] )[0-9a-fA-F]", line) is not None
    return noise


def read_lackey(chunks: Iterable[bytes], path: str | os.PathLike) -> Iterator[Accesses]:
    """Reads accesses from consecutive pieces of lackey's text; `path` only names it in errors.

    Instruction ids count `I` lines from 1; the PC of an access is that of the `I` line before
    it. Raises TraceError for a line that is none of these and where there is no access.
    """
    columns = empty_accesses()
    state = np.zeros(2, np.uint64)  # instructions so far, PC of the last
    parse = partial(_parse, state)
    fills = parse_lines(chunks, path, columns, _ROWS_A_LINE, parse, _explain)
    return access_chunks(fills, columns, path)


@numba.njit(cache=True, nogil=True)
def _parse(state, text, at, address, pc, is_store, instr_id, row):
    """See `parse_lines`."""
    while at < len(text) and row + _ROWS_A_LINE <= len(address):
        start, kind = at, _kind(text, at)
        rows = row
        if kind > SPACE:
            first, comma = hexadecimal(text, at + 3)
            if comma == at + 3 or text[comma] != _COMMA:
                return row, start
            size, at = decimal(text, comma + 1)
            if size < _ONE or size > _MOST or crosses_end(first, size):
                return row, start
            if kind == _I:
                state[0] += _ONE
                state[1] = first
            else:
                count, at_pc = np.int64(state[0]), state[1]
                if count == 0:
                    return row, start
                columns = (address, pc, is_store, instr_id)
                if kind != _S:
                    rows = put_access(*columns, rows, first, size, at_pc, False, count)
                if kind != _L:
                    rows = put_access(*columns, rows, first, size, at_pc, True, count)
        elif kind == SPACE:
            at = skip_line(text, at)
        at = end_line(text, start, at)
        if at < 0:
            return row, start
        row = rows
    return row, at


@numba.njit
def _kind(text, at):
    """I, L, S or M; a blank for a line to be ignored, 0 for a blank line or none of these."""
    first = text[at]
    if first == _I and text[at + 1] == SPACE and text[at + 2] == SPACE:
        return _I
    if first == SPACE:
        second = text[at + 1]
        if second in (_L, _S, _M) and text[at + 2] == SPACE:
            return np.int64(second)
    elif first in (_EQUALS, _MINUS, _STAR):
        return SPACE if text[at + 1] == first else 0
    elif first == _S and text[at + 1] == _B and text[at + 2] == SPACE:
        return SPACE
    return 0


def _explain(line: bytes) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        return shown(line), (
            "'I  ADDR,size', ' L ADDR,size', ' S ADDR,size' or ' M ADDR,size'; keep what the "
            "program prints out of the file (valgrind --log-file)"
        )
    address, size = int(match[2], 16), int(match[3])
    if address >> 64:
        return f"ADDR = {shown(match[2])}", "a number below 2**64"
    if not 1 <= size <= MAX_ACCESS_BYTES:
        return f"size = {shown(match[3])}", f"1 to {MAX_ACCESS_BYTES} bytes"
    if address + size > 1 << 64:
        return shown(line), "an access that ends before address 2**64"
    return f"{shown(line)} before any instruction", "an 'I  ADDR,size' line first; cut files there"
