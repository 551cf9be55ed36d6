"""What readers of text share: whole lines in blocks, numbers in kernels, text in errors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numba
import numpy as np

from packd_jax.traces.load_trace import TraceError

MAX_LINE_BYTES = 4096  # a longer line is no access, and would have to be held in memory
NEWLINE, RETURN, TAB, SPACE = b"\n\r\t "
_NIBBLE = np.full(256, 16, np.uint8)  # value of a hexadecimal digit of either case; 16: none
_NIBBLE[list(b"0123456789ABCDEF")] = _NIBBLE[list(b"0123456789abcdef")] = range(16)
_ZERO, _NINE, _TEN = np.uint64(48), np.uint64(9), np.uint64(10)
_TENTH, _LAST_DIGIT = np.uint64((2**64 - 1) // 10), np.uint64((2**64 - 1) % 10)
_FOUR, _SIXTY = np.uint64(4), np.uint64(60)


def parse_lines(
    chunks: Iterable[bytes],
    path: str | os.PathLike,
    columns: Sequence[np.ndarray],
    rows_a_line: int,
    parse: Callable[..., tuple[int, int]],
    explain: Callable[[bytes], tuple[str, str]],
) -> Iterator[int]:
    """Fills `columns` again and again; gives how many rows they hold, when full and at the end.

    The kernel `parse(text, at, *columns, row)` reads lines of `text` from position `at` on into
    rows from `row` on. It returns the row and the position that it came to: the end, a line that
    it refuses, or one before which fewer than `rows_a_line` rows are free. The newline at the
    end of `text` bounds every scan. `explain(line)` tells what a refused line gives, and what
    was expected, for the TraceError.
    """
    row, room = 0, len(columns[0]) - rows_a_line
    for text, whole, lines in _whole_lines(chunks, path):
        array, at = np.frombuffer(text, np.uint8, whole), 0
        while at < whole:
            row, at = parse(array, at, *columns, row)
            if row > room:
                yield row
                row = 0
            elif at < whole:
                line = text[at : text.index(b"\n", at)]
                number = lines + text.count(b"\n", 0, at) + 1
                given = explain(line) if len(line) <= MAX_LINE_BYTES else _too_long(line)
                raise TraceError(path, f"line {number}", *given)
    if row:
        yield row


def _whole_lines(
    chunks: Iterable[bytes], path: str | os.PathLike
) -> Iterator[tuple[bytes, int, int]]:
    """Parts of the text, how many of their bytes are whole lines, and the lines before them."""
    rest, lines = b"", 0  # the last line so far, while its newline has not come
    for chunk in itertools.chain(chunks, [b"\n"]):
        text = rest + chunk
        whole = text.rfind(b"\n") + 1
        if whole:
            yield text, whole, lines
        lines += text.count(b"\n")
        rest = text[whole:]
        if len(rest) > MAX_LINE_BYTES:
            raise TraceError(path, f"line {lines + 1}", *_too_long(rest))


def _too_long(line: bytes) -> tuple[str, str]:
    return f"a line that begins {shown(line)}", f"lines of at most {MAX_LINE_BYTES} bytes"


def shown(text: bytes) -> str:
    """Text as an error shows it: quoted, escaped, cut."""
    quoted = repr(text[:64])[1:]
    return quoted if len(text) <= 64 and len(quoted) <= 62 else f"{quoted[:58]}..."


@numba.njit
def skip_blanks(text, at):
    """The position of the next byte that is neither blank nor tab."""
    while text[at] == SPACE or text[at] == TAB:
        at += 1
    return at


@numba.njit
def skip_line(text, at):
    """The position of the next newline."""
    while text[at] != NEWLINE:
        at += 1
    return at


@numba.njit
def end_line(text, start, at):
    """The position after the line that began at `start`, if from `at` on only blanks are left.

    -1 if something else is, or the line is too long.
    """
    while text[at] == SPACE or text[at] == TAB or text[at] == RETURN:
        at += 1
    return at + 1 if text[at] == NEWLINE and at - start <= MAX_LINE_BYTES else -1


@numba.njit
def decimal(text, begin):
    """A decimal number u64 and the position after it: `begin` without one or from 2**64 on."""
    value, at = np.uint64(0), begin
    digit = np.uint64(text[at]) - _ZERO  # wraps around below "0"
    while digit <= _NINE:
        if value >= _TENTH and (value > _TENTH or digit > _LAST_DIGIT):
            return value, begin
        value = value * _TEN + digit
        at += 1
        digit = np.uint64(text[at]) - _ZERO
    return value, at


@numba.njit
def hexadecimal(text, begin):
    """A number without 0x, u64, and the position after it: `begin` as in `decimal`."""
    value, at = np.uint64(0), begin
    while _NIBBLE[text[at]] < 16:
        if value >> _SIXTY:
            return value, begin
        value = (value << _FOUR) | np.uint64(_NIBBLE[text[at]])
        at += 1
    return value, at


@numba.njit
def matches(text, at, word):
    """The position after `word`, an array of bytes without a newline; -1 if it is not at `at`."""
    for i in range(len(word)):
        if text[at + i] != word[i]:
            return -1
    return at + len(word)
