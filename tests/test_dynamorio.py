"""Text of the view tool in all its forms, against an independent reading, and damaged."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from test_accesses import blocks_of
from trace_mutations import buffered, check_bounded, check_mutations

from packd_jax.traces.accesses import MAX_ACCESS_BYTES
from packd_jax.traces.byte_source import byte_chunks
from packd_jax.traces.dynamorio import is_dynamorio, read_dynamorio
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.text_lines import MAX_LINE_BYTES

TOKEN = re.compile(rb"[ \t]*(?:(:)|([0-9]+)(?=[ \t\r:]|$)|[TW][0-9][^ \t\r]*)")
PLACE = rb"[ \t]*([0-9]+) byte\(s\) @ 0x([0-9a-fA-F]+)"
FETCH = re.compile(rb"ifetch" + PLACE + rb"(?:[ \t\r].*)?", re.DOTALL)
DATA = re.compile(rb"(read|write)" + PLACE + rb"[ \t]+by PC 0x([0-9a-fA-F]+)[ \t\r]*")
IGNORED = re.compile(
    rb"(?:[<=-]|Output format:|View tool results:|total instructions|pref|iflush|dflush).*"
    rb"|(?:[0-9a-f]{2}(?=[ \t\r]|$)[ \t]*)*+[ \t\r]*",
    re.DOTALL,
)


def expected_rows(text):
    """(address, pc, is_store, instr_id) of each row, or None where the text is refused."""
    rows, instructions, last = [], 0, 0
    for line in text.split(b"\n"):
        if len(line) > MAX_LINE_BYTES:
            return None
        at, numbers, ordinal, colon = 0, [], 0, False
        while (token := TOKEN.match(line, at)) is not None:
            if token[1] and not colon:
                colon = True
                ordinal = numbers[1] if len(numbers) == 2 else 0
            elif token[2]:
                if int(token[2]) >= 2**64:
                    break
                numbers.append(int(token[2]))
            at = token.end()
        rest = line[at:].lstrip(b" \t")
        if match := FETCH.fullmatch(rest):
            size, address = int(match[1]), int(match[2], 16)
        elif match := DATA.fullmatch(rest):
            size, address = int(match[2]), int(match[3], 16)
            if int(match[4], 16) >= 2**64:
                return None
        elif IGNORED.fullmatch(rest):
            continue
        else:
            return None
        if not 1 <= size <= MAX_ACCESS_BYTES or address + size > 2**64:
            return None
        if match.re is FETCH:
            if ordinal == 0 or ordinal != last:
                instructions, last = instructions + 1, ordinal
        else:
            pc, is_store = int(match[4], 16), match[1] == b"write"
            rows += [(block, pc, is_store, instructions) for block in blocks_of(address, size)]
    return rows or None


def rows_of(chunks):
    return [row for chunk in chunks for row in zip(*(column.tolist() for column in chunk))]


def read(data):
    return rows_of(read_dynamorio(byte_chunks(buffered(data), "some.txt"), "some.txt"))


HEADER = b"""Output format:
<--record#-> <--instr#->: <---tid---> <record details>
------------------------------------------------------------
"""
FORMS = {  # of what stands before the record, by build
    "2022": lambda record, instr: b"%10d: T3551528   " % record,
    "2023": lambda record, instr: b"%12d%12d: %11d " % (record, instr, 3551528),
    "2024": lambda record, instr: b"%12d%12d: W0.T%07d " % (record, instr, 3551528),
}
FETCHED = [b"non-branch", b"48 8b 5c 24 08       mov    0x08(%rsp)[8byte] -> %rbx", b"call\r"]
BETWEEN = [
    b"<marker: timestamp 13334804716609227>",
    b"<thread 3551528 exited>",
    b"pref-r-L1    1 byte(s) @ 0x00007f6c389d7238 by PC 0x00007f6cae908a5c",
    b"iflush      64 byte(s) @ 0x00007f6c389d7238 by PC 0x00007f6cae908a5c",
    b"                                            00 00 0c e8",
]
ADDRESSES = st.one_of(st.integers(0, 2**64 - MAX_ACCESS_BYTES), st.integers(0, 2**20))
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["ifetch", "read", "write", "other"]),
        ADDRESSES,
        st.sampled_from([1, 2, 4, 8, 16, 64, 2696]),
        st.integers(0, 2**64 - 1),
        st.sampled_from(FETCHED),
        st.sampled_from(BETWEEN),
    ),
    max_size=30,
)


def text_of(records, form):
    text, instr = HEADER, 0
    for number, (kind, address, size, pc, fetched, between) in enumerate(records, 1):
        instr += kind == "ifetch"
        text += FORMS[form](number, instr)
        if kind == "other":
            text += between
        else:
            text += b"%-12s%2d byte(s) @ 0x%016x " % (kind.encode(), size, address)
            text += fetched if kind == "ifetch" else b"by PC 0x%016x" % pc
        text += b"\n" + b"-" * 60 + b"\n" if number % 7 == 0 else b"\n"
    return text + b"View tool results:\n%15d : total instructions\n" % instr


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25)
@given(records=RECORDS, chunk_bytes=st.integers(1, 200))
def test_text_of_every_build_in_pieces_of_any_size(form, records, chunk_bytes):
    text = text_of(records, form)
    expected, instructions = [], 0
    for kind, address, size, pc, *_ in records:
        instructions += kind == "ifetch"
        if kind in ("read", "write"):
            blocks = blocks_of(address, size)
            expected += [(block, pc, kind == "write", instructions) for block in blocks]
    assert expected_rows(text) == (expected or None)
    chunks = [text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes)]
    if expected:
        assert rows_of(read_dynamorio(chunks, "some.txt")) == expected
    else:
        with pytest.raises(TraceError, match="no load or store"):
            list(read_dynamorio(chunks, "some.txt"))


def test_threads_are_one_stream_as_they_are_interleaved():
    text = b"""
       47445       37770:     2765543 ifetch       5 byte(s) @ 0x0000000000404a7e 48 8b 5c 24 08
       47446       37770:     2765543 read         8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x404a7e
------------------------------------------------------------
       47453       37770:     2765542 <marker: tid 2765542 on core 7>
       47454       37771:     2765542 ifetch       1 byte(s) @ 0x000000000040257d 55
       47455       37771:     2765542 write        8 byte(s) @ 0x00007ffd90c13950 by PC 0x40257d
"""
    assert read(text) == [
        (0x7FDF64E2ADC8, 0x404A7E, False, 1),
        (0x7FFD90C13950, 0x40257D, True, 2),
    ]


def test_a_further_round_of_a_rep_instruction_is_no_further_instruction():
    text = b"""
           8           1: W0.T3342 ifetch       2 byte(s) @ 0x401000 f3 a4   rep movs
           9           1: W0.T3342 read         1 byte(s) @ 0x500000 by PC 0x401000
          10           1: W0.T3342 ifetch       2 byte(s) @ 0x401000 f3 a4   rep movs
          11           1: W0.T3342 read         1 byte(s) @ 0x500001 by PC 0x401000
          12           2: W0.T3342 ifetch       2 byte(s) @ 0x401002 90      nop
          13           2: W0.T3342 read         1 byte(s) @ 0x500002 by PC 0x401002
"""
    assert [row[3] for row in read(text)] == [1, 1, 2]


GOOD = b"           9           1: W0.T3342 read         8 byte(s) @ 0x500000 by PC 0x401000\n"


@pytest.mark.parametrize(
    "line, given_text, expected",
    [
        (b"Adios world!", "'Adios world!'", "a record such as 'read 8 byte(s) @"),
        (b" 9 1: 5 raed 8 byte(s) @ 0x5 by PC 0x4", "' 9 1: 5 raed", "a record such as"),
        (b" 9 1: 5 read 0 byte(s) @ 0x5 by PC 0x4", "size = '0'", "1 to 16384 byte(s)"),
        (b" 9 1: 5 read byte(s) @ 0x5 by PC 0x4", "size = ''", "1 to 16384 byte(s)"),
        (b" 9 1: 5 write 65536 byte(s) @ 0x5 by PC 0x4", "size = '65536'", "1 to 16384"),
        (b" 9 1: 5 read 8 byte(s) @ 0x5", "' 9 1: 5 read 8", "'by PC 0xPC', a number below"),
        (b" 9 1: 5 read 8 byte(s) @ 0x5 by PC 0x1" + b"0" * 16, "' 9 1: 5 ", "'by PC 0xPC', a"),
        (b" 9 1: 5 read 8 byte(s) @ 0x5 by PC 0x4 x", "' 9 1: 5 ", "'<record#> <instr#>: <tid>"),
        (b" 9 1: 5 ifetch 4 byte(s) @ 0x5f1g", "' 9 1: 5 ", "'<record#> <instr#>: <tid>"),
        (b" 9 1: 5 ifetch 4 byte(s) @ 0xfffffffffffffffd", "address 0xffff", "an access that ends"),
        (b"9" * 30 + b": T5 ifetch 4 byte(s) @ 0x5", "'99999999", "'<record#> <instr#>"),
        (b" 9 1: 5 ifetch 4 byte(s) @ 0x5 " + b"x" * 5000, "a line that begins", "lines of at"),
    ],
)
def test_a_bad_line_is_named_with_what_was_given_and_expected(line, given_text, expected):
    for after in (b"", b"\n" + GOOD):
        with pytest.raises(TraceError) as caught:
            read(HEADER + GOOD + line + after)
        message = str(caught.value)
        assert message.startswith(f"some.txt: line 5: {given_text}")
        assert f"; expected {expected}" in message


def test_recognition():
    assert is_dynamorio(HEADER + b"           1           0: 5 <marker: version 6>\n")
    assert is_dynamorio(GOOD)
    assert not is_dynamorio(b"I  04000000,3\n")


def random_text(rng):
    records = []
    for _ in range(rng.integers(10, 30)):
        kind = rng.choice(["ifetch", "read", "write", "other"])
        size = int(rng.choice([1, 4, 8, 300]))
        places = rng.integers(0, 2**47, 2).tolist()
        fetched, between = (options[rng.integers(len(options))] for options in (FETCHED, BETWEEN))
        records.append((kind, places[0], size, places[1], fetched, between))
    return text_of(records, rng.choice(list(FORMS)))


def test_a_mutated_trace_is_read_correctly_or_refused():
    rng = np.random.default_rng(1)
    pieces = [b"read", b" write 4 byte(s) @ 0x", b" by PC 0x", b"<", b":", b"T1 ", b" 4f", b"W2"]
    pieces += [b"9" * 19, b"f" * 15, b"\r", b" ", b"-", b"pref", b"Output format:", b"\t"]
    texts = [random_text(rng) for _ in range(20)]
    check_mutations(2, texts, read, expected_rows, pieces)


def test_a_file_that_expands_a_thousandfold_is_held_piece_by_piece():
    member = GOOD * 40_000

    def count(data):
        chunks = read_dynamorio(byte_chunks(buffered(data), "some.txt"), "some.txt")
        assert sum(chunk.rows for chunk in chunks) == 40_000 * 55

    check_bounded(count, member, 55, 100_000_000)
