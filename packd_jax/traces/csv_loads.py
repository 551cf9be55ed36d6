"""Comma-separated values with a header line that names the columns, as scripts write them.

Numbers are decimal, or hexadecimal with 0x; fields may be quoted. A file with a column that
tells loads from stores holds all accesses of a program, any other the loads of its LLC.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numba
import numpy as np

from packd_jax.config import CACHE_PRESETS, CacheConfig
from packd_jax.traces.accesses import CHUNK_ACCESSES, Accesses
from packd_jax.traces.cache import LLC, MEMORY, load_waits
from packd_jax.traces.csv_header import (
    ADDRESS,
    CYCLE,
    FIELDS,
    HIT,
    ID,
    IGNORED,
    PC,
    STORE,
    column_kinds,
    header_line,
)
from packd_jax.traces.gather import empty_loads
from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.text_lines import (
    MAX_LINE_BYTES,
    NEWLINE,
    SPACE,
    decimal,
    end_line,
    hexadecimal,
    parse_lines,
    shown,
    skip_blanks,
    skip_line,
)

FLAGS = {  # words for no and yes, in any case; L, S, R, W are what cache tools write
    "hit": ("0 miss m false f no n", "1 hit h true t yes y"),
    "is_store": ("0 l ld load r rd read false f no n", "1 s st store w wr write true t yes y"),
}
_ROWS, _LAST, _ORDERED, _HEADER = range(4)  # state: rows, last id, ids in order, header read
_COMMA, _QUOTE, _0, _9, _A, _Z, _X = b',"09azx'
_LOWER, _BYTE_BITS, _SIGN = 0x20, np.uint64(8), np.uint64(63)
_WORD_BYTES = 8
_NO, _YES = np.uint64(0), np.uint64(1)


def _codes(words: str) -> np.ndarray:
    return np.array([int.from_bytes(word.encode(), "big") for word in words.split()], np.uint64)


_MISS, _HITS = map(_codes, FLAGS["hit"])
_LOAD, _STORES = map(_codes, FLAGS["is_store"])


def read_csv(
    chunks: Iterable[bytes],
    path: str | os.PathLike,
    columns: Mapping[str, str] | None = None,
    cache: CacheConfig = CACHE_PRESETS["ml_dpc"],
) -> Iterator[Accesses] | Iterator[LoadTrace]:
    """Reads accesses or loads from consecutive pieces of text; `path` only names it in errors.

    `columns` maps our names (`csv_header.FIELDS`) to the file's, an empty one meaning that it
    has none; others are found by their usual names. Only address and pc must be there:

    - instr_id: by default the row, from 1 on. It never steps back where stores are told.
    - hit: by default a miss. cycle: by default that of the in-order core that `cache.py`
      describes, which waits for each load, as long as `cache` says.

    Where stores are told, cycle and hit are ignored: the cache filter makes its own. Raises
    TraceError for a header without what is needed, a line that does not fit, and no row.
    """
    chunks, head = iter(chunks), b""
    for chunk in chunks:
        head += chunk
        if header_line(head) is not None or len(head) > MAX_LINE_BYTES:
            break
    kinds = column_kinds(header_line(head + b"\n") or b"", columns or {}, path)
    state = np.array([0, 0, STORE in kinds, 0])
    waits = None if CYCLE in kinds else load_waits(cache)[[MEMORY, LLC]]
    loads, is_store = empty_loads(CHUNK_ACCESSES), np.empty(CHUNK_ACCESSES, np.bool_)
    parse, explain = partial(_parse, kinds, state), partial(_explain, kinds, state)
    text = itertools.chain([head], chunks)
    fills = parse_lines(text, path, (*loads, is_store), 1, parse, explain)
    return _chunks(fills, path, loads, is_store if state[_ORDERED] else None, waits)


def _chunks(
    fills: Iterator[int],
    path: str | os.PathLike,
    loads: LoadTrace,
    is_store: np.ndarray | None,
    waits: np.ndarray | None,
) -> Iterator[Accesses] | Iterator[LoadTrace]:
    rows = stall = 0
    for rows in fills:
        chunk = LoadTrace(*(column[:rows].copy() for column in loads))
        if is_store is not None:
            yield Accesses(chunk.address, chunk.pc, is_store[:rows].copy(), chunk.instr_id)
            continue
        if waits is not None:
            wait = waits[chunk.hit.astype(np.int64)]
            after = stall + np.cumsum(wait)
            stall = int(after[-1])
            chunk = chunk._replace(cycle=(chunk.instr_id + after - wait) // 4)
        yield chunk
    if rows == 0:
        raise TraceError(path, "the whole file", "no row", "rows of values below the header")


@numba.njit(cache=True, nogil=True)
def _parse(kinds, state, text, at, instr_id, cycle, address, pc, hit, is_store, row):
    """See `parse_lines`."""
    while at < len(text) and row < len(hit):
        start, rows = at, row
        at = skip_blanks(text, at)
        if text[at] > SPACE and state[_HEADER] == 0:
            state[_HEADER] = 1
            at = skip_line(text, at)
        elif text[at] > SPACE:
            instr_id[row], cycle[row], hit[row] = state[_ROWS] + 1, 0, False
            for column in range(len(kinds)):
                if column > 0:
                    at = skip_blanks(text, at)
                    if text[at] != _COMMA:
                        return row, start
                    at += 1
                at = skip_blanks(text, at)
                kind, quoted = kinds[column], text[at] == _QUOTE
                begin = at + 1 if quoted else at
                value, at = _field(text, begin, kind, quoted)
                if at == begin and kind != IGNORED:
                    return row, start
                if quoted:
                    if text[at] != _QUOTE:
                        return row, start
                    at += 1
                if kind == ADDRESS:
                    address[row] = value
                elif kind == PC:
                    pc[row] = value
                elif kind == HIT:
                    hit[row] = value == _YES
                elif kind == STORE:
                    is_store[row] = value == _YES
                elif kind == CYCLE:
                    cycle[row] = np.int64(value)
                elif kind == ID:
                    instr_id[row] = np.int64(value)
            if state[_ORDERED] != 0 and instr_id[row] < state[_LAST]:
                return row, start
            rows = row + 1
        at = end_line(text, start, at)
        if at < 0:
            return row, start
        if rows > row:
            state[_ROWS] += 1
            state[_LAST] = instr_id[row]
        row = rows
    return row, at


@numba.njit
def _field(text, at, kind, quoted):
    """The value u64 of a field that begins at `at`, and the position after it: `at` if none."""
    if kind == HIT:
        return _flag(text, at, _MISS, _HITS)
    if kind == STORE:
        return _flag(text, at, _LOAD, _STORES)
    if kind == IGNORED:
        return _NO, _skip_field(text, at, quoted)
    if text[at] == _0 and text[at + 1] | _LOWER == _X:
        value, end = hexadecimal(text, at + 2)
        end = at if end == at + 2 else end
    else:
        value, end = decimal(text, at)
    return value, at if kind in (ID, CYCLE) and value >> _SIGN else end


@numba.njit
def _skip_field(text, at, quoted):
    """The position of the comma, closing quote or newline that ends a field."""
    while text[at] != NEWLINE and (quoted or text[at] != _COMMA):
        if quoted and text[at] == _QUOTE:
            if text[at + 1] != _QUOTE:  # two stand for one
                return at
            at += 1
        at += 1
    return at


@numba.njit
def _flag(text, at, off, on):
    code, end = np.uint64(0), at
    while _0 <= text[end] <= _9 or _A <= text[end] | _LOWER <= _Z:
        if end - at == _WORD_BYTES:
            return _NO, at
        code = (code << _BYTE_BITS) | np.uint64(text[end] | _LOWER)
        end += 1
    for word in off:
        if code == word:
            return _NO, end
    for word in on:
        if code == word:
            return _YES, end
    return _NO, at


def _explain(kinds: np.ndarray, state: np.ndarray, line: bytes) -> tuple[str, str]:
    text = line.decode("latin-1").replace("\r", " ").strip(" \t")
    fields = [field.strip(" \t") for field in next(csv.reader([text], skipinitialspace=True))]
    if len(fields) != len(kinds):
        return f"{len(fields)} column(s) in {shown(line)}", f"{len(kinds)}, as the header has"
    for kind, field in zip(kinds.tolist(), fields):
        if kind == IGNORED:
            continue
        name, bits = FIELDS[kind], 63 if kind in (ID, CYCLE) else 64
        given = f"{name} = {shown(field.encode('latin-1'))}"
        if name in FLAGS:
            no, yes = (words.split() for words in FLAGS[name])
            if field.lower() not in no + yes:
                return given, f"one of {', '.join(no + yes)}"
        elif not re.fullmatch("0[xX][0-9a-fA-F]+|[0-9]+", field):
            return given, "a decimal number, or a hexadecimal one with 0x"
        elif int(field, 16 if field[1:2] in ("x", "X") else 10) >> bits:
            return given, f"a number below 2**{bits}"
    if state[_ORDERED]:
        return shown(line), f"instr_id {state[_LAST]}, as above it, or more; sort the rows by it"
    return shown(line), "values with nothing but commas between them"
