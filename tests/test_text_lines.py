"""Numbers and lines as kernels read them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.text_lines import (
    MAX_LINE_BYTES,
    decimal,
    end_line,
    hexadecimal,
    matches,
    parse_lines,
    shown,
)


def array(text):
    return np.frombuffer(text, np.uint8)


@settings(max_examples=60)
@given(st.integers(0, 2**68), st.sampled_from([b"\n", b",", b"g", b"/", b":", b"\xff"]))
@example(2**64 - 1, b"\n")
@example(2**64, b"\n")
@example(2**64 + 9, b"\n")
@example(0, b"\n")
def test_numbers_end_where_their_digits_do(number, after):
    for form, parse in ((b"-%d", decimal), (b"-00%d", decimal), (b"-%x", hexadecimal)):
        text = form % number
        value, end = parse(array(text + after + b"\n"), 1)
        assert end == (len(text) if number < 2**64 else 1)
        assert value == number or end == 1
    assert hexadecimal(array(b"FfAa\n"), 0) == (0xFFAA, 4)
    assert decimal(array(b"a\n"), 0)[1] == 0


def test_the_end_of_a_line():
    assert end_line(array(b"ab \t\r\nc\n"), 0, 2) == 6
    assert end_line(array(b"ab x\n"), 0, 2) == -1
    for blanks, expected in ((MAX_LINE_BYTES, MAX_LINE_BYTES + 1), (MAX_LINE_BYTES + 1, -1)):
        assert end_line(array(b" " * blanks + b"\n"), 0, 0) == expected


def test_words_match_whole():
    word = array(b"read")
    assert matches(array(b"read\n"), 0, word) == 4
    assert matches(array(b"rea\n"), 0, word) == -1


def count_up_to(limit):
    """A parser of lines `a`, one row each, which refuses any other."""

    def parse(text, at, column, row):
        while at < len(text) and row + limit <= len(column):
            if text[at] != ord("a"):
                return row, at
            column[row] = at
            row, at = row + 1, at + 2
        return row, at

    return parse


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 9), st.integers(0, 4))
def test_columns_are_filled_again_and_again(lines, rows_a_line, chunk_bytes, spare):
    text = b"a\n" * lines
    chunks = [text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes)]
    column, parse = np.zeros(rows_a_line + spare), count_up_to(rows_a_line)

    def parse_or_skip(text, at, column, row):  # the newline that is added to the end
        return (row, at + 1) if text[at] == ord("\n") else parse(text, at, column, row)

    fills = list(parse_lines(chunks, "x", [column], rows_a_line, parse_or_skip, shown))
    assert sum(fills) == lines
    assert all(rows == spare + 1 for rows in fills[:-1])


@pytest.mark.parametrize("chunk_bytes", [1, 3, 100])
def test_a_refused_line_is_counted_and_explained(chunk_bytes):
    text = b"a\n" * 7 + b"bad\na\n"
    chunks = [text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes)]
    with pytest.raises(TraceError, match=r"^x: line 8: 'bad'; expected another$"):
        list(
            parse_lines(
                chunks, "x", [np.zeros(5)], 1, count_up_to(1), lambda line: (shown(line), "another")
            )
        )


def test_what_errors_show_is_short_and_printable():
    assert shown(b"ab\x00") == "'ab\\x00'"
    for text in (b"x" * 65, b"\x00" * 64, b"'" * 30 + b'"' * 30):
        assert len(shown(text)) <= 64 and shown(text).isprintable()
