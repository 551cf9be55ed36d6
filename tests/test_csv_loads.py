"""CSV files as scripts write them, against an independent reading, and damaged."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from trace_mutations import buffered, check_bounded, check_mutations

from packd_jax.traces.accesses import Accesses
from packd_jax.traces.byte_source import byte_chunks
from packd_jax.traces.csv_header import FIELDS, IGNORED, column_kinds, header_line
from packd_jax.traces.csv_loads import FLAGS, read_csv
from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.text_lines import MAX_LINE_BYTES

MISS, LLC_HIT = 200, 10 + 20  # cycles that a load waits


def words(name):
    return "|".join(sorted(" ".join(FLAGS[name]).split(), key=len, reverse=True))


PATTERNS = {
    IGNORED: r'(?:"(?:[^"]|"")*+"[ \t]*|(?!")[^,]*)',
    **{
        kind: rf'("?)({words(name) if name in FLAGS else "0x[0-9a-f]+|[0-9]+"})\{{}}[ \t]*'
        for kind, name in enumerate(FIELDS)
    },
}


def expected_rows(text):
    """Rows of the columns that the reader gives, or None where the text is refused."""
    header = header_line(text + b"\n")
    try:
        kinds = column_kinds(header or b"", {}, "some.csv").tolist()
    except TraceError:
        return None
    pattern, group = [], 1
    for kind in kinds:
        pattern.append("[ \t]*+" + PATTERNS[kind].replace("{}", str(group)))
        group += 2 * (kind != IGNORED)
    line_of = re.compile(",".join(pattern) + "[ \t\r]*", re.DOTALL | re.IGNORECASE)
    names = [FIELDS[kind] for kind in kinds if kind != IGNORED]
    is_accesses, stall, last, rows, past_header = "is_store" in names, 0, 0, [], False
    for line in text.decode("latin-1").split("\n"):
        if len(line) > MAX_LINE_BYTES:
            return None
        if not line.strip(" \t\r"):
            continue
        if not past_header:
            past_header = True
            continue
        match = line_of.fullmatch(line)
        if match is None:
            return None
        row = {"instr_id": len(rows) + 1, "hit": False}
        for name, value in zip(names, match.groups()[1::2]):
            if name in FLAGS:
                row[name] = value.lower() in FLAGS[name][1].split()
            else:
                row[name] = int(value, 16 if value[1:2] in ("x", "X") else 10)
                if row[name] >= (2**63 if name in ("instr_id", "cycle") else 2**64):
                    return None
        if is_accesses:
            if row["instr_id"] < last:
                return None
            last = row["instr_id"]
            rows.append(tuple(row[name] for name in Accesses._fields))
        else:
            row.setdefault("cycle", (row["instr_id"] + stall) // 4)
            stall += LLC_HIT if row["hit"] else MISS
            rows.append(tuple(row[name] for name in LoadTrace._fields))
    return rows or None


def rows_of(chunks):
    return [row for chunk in chunks for row in zip(*(column.tolist() for column in chunk))]


def read(data, **columns):
    return rows_of(read_csv(byte_chunks(buffered(data), "some.txt"), "some.txt", columns))


UINT64, INT64 = st.integers(0, 2**64 - 1), st.integers(0, 2**62)
NUMBERS = ["{}", "0x{:x}", "0X{:X}", "000{}", ' "{}"', '"0x0{:x}" ', " {}\t"]
TEXTS = ["", "x y", '"a, ""b"""', "7.5", "-"]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 80))
def test_a_load_trace_in_pieces_of_any_size(data, chunk_bytes):
    columns = ["addr", "IP", *data.draw(st.lists(st.sampled_from(["id", "cycle", "hit", "note"])))]
    columns = data.draw(st.permutations(list(dict.fromkeys(columns))))
    lines = [",".join(columns)]
    expected, stall = [], 0
    for number in range(1, data.draw(st.integers(1, 20)) + 1):
        row = {"addr": data.draw(UINT64), "IP": data.draw(UINT64)}
        row |= {"id": data.draw(INT64), "cycle": data.draw(INT64), "hit": data.draw(st.booleans())}
        fields = []
        for name in columns:
            if name == "note":
                fields.append(data.draw(st.sampled_from(TEXTS)))
            elif name == "hit":
                options = FLAGS["hit"][row["hit"]].upper().split()
                fields.append(data.draw(st.sampled_from(options)))
            else:
                fields.append(data.draw(st.sampled_from(NUMBERS)).format(row[name]))
        lines.append(data.draw(st.sampled_from(["", "\n", " \t\r\n"])) + ",".join(fields))
        instr_id = row["id"] if "id" in columns else number
        hit = row["hit"] if "hit" in columns else False
        cycle = row["cycle"] if "cycle" in columns else (instr_id + stall) // 4
        stall += LLC_HIT if hit else MISS
        expected.append((instr_id, cycle, row["addr"], row["IP"], hit))
    text = data.draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode()
    text += data.draw(st.sampled_from([b"", b"\n"]))
    chunks = [text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes)]
    assert rows_of(read_csv(chunks, "some.csv")) == expected
    assert expected_rows(text) == expected


def test_a_column_that_tells_stores_makes_it_all_accesses():
    text = b"type,pc,addr,hit\nL,1,64,1\nwrite,2,0x80,0\n STORE,3,192,1\n"
    (chunk,) = read_csv([text], "some.csv")
    assert isinstance(chunk, Accesses)
    assert rows_of([chunk]) == [(64, 1, False, 1), (128, 2, True, 2), (192, 3, True, 3)]
    (loads,) = read_csv([text], "some.csv", {"is_store": ""})
    assert isinstance(loads, LoadTrace)


@pytest.mark.parametrize(
    "line, given_text, expected",
    [
        (b"1,2", "2 column(s) in '1,2'", "4, as the header has"),
        (b"1,2,3,0,5", "5 column(s)", "4, as the header has"),
        (b"1,ff,3,0", "address = 'ff'", "a decimal number, or a hexadecimal one with 0x"),
        (b"-1,2,3,0", "instr_id = '-1'", "a decimal number, or a hexadecimal one with 0x"),
        (b"1,2.5,3,0", "address = '2.5'", "a decimal number, or"),
        (b"1,,3,0", "address = ''", "a decimal number, or"),
        (b"1,0x,3,0", "address = '0x'", "a decimal number, or"),
        (b"1,0x1ffffffffffffffff,3,0", "address = '0x1ff", "a number below 2**64"),
        (b"9223372036854775808,2,3,0", "instr_id = '9223372", "a number below 2**63"),
        (b"1,2,3,maybe", "hit = 'maybe'", "one of 0, miss, m, false, f, no, n, 1, hit"),
        (b"1,2,3,2", "hit = '2'", "one of 0, miss"),
        (b'1,"2,3,0', "2 column(s)", "4, as the header has"),
        (b'1," 2",3,0', "'1,\" 2\",3,0'", "values with nothing but commas between them"),
        (b"1,2,3,0\x00", "hit = '0\\x00'", "one of 0, miss"),
        (b"1,2,3,0" + b" " * 5000, "a line that begins '1,2,3,0 ", "lines of at most 4096 bytes"),
    ],
)
def test_a_bad_line_is_named_with_what_was_given_and_expected(line, given_text, expected):
    for after in (b"", b"\n1,2,3,0\n"):
        with pytest.raises(TraceError) as caught:
            read(b"id,addr,pc,hit\n1,2,3,0\n\n" + line + after)
        message = str(caught.value)
        assert message.startswith(f"some.txt: line 4: {given_text}")
        assert f"; expected {expected}" in message


def test_instructions_of_all_accesses_are_in_order():
    read(b"id,addr,pc\n5,1,1\n4,1,1\n")  # loads of an out-of-order core need not be
    with pytest.raises(TraceError) as caught:
        read(b"id,addr,pc,rw\n5,1,1,R\n4,1,1,R\n")
    assert "line 3: '4,1,1,R'; expected instr_id 5, as above it, or more" in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"\n\n", b"addr,pc\n", b"addr,pc\n \n\r\n", b"addr,pc"])
def test_a_file_without_a_row_is_an_error(text):
    with pytest.raises(TraceError, match=r"header: ''; expected a column address|no row; expected"):
        read(text)


def test_names_may_be_given():
    assert read(b"a,b,c\n1,2,3\n", pc="a", address="c") == [(1, 0, 3, 1, False)]


HEADERS = ["instr_id,cycle,address,pc,hit", "pc,addr", "addr,note,pc,type", "id,type,pc,addr,x"]


def random_text(rng):
    header = HEADERS[rng.integers(len(HEADERS))]
    lines, instruction = [header], 0
    for _ in range(rng.integers(5, 40)):
        instruction += int(rng.integers(3))
        fields = []
        for name in header.split(","):
            number = int(rng.integers(10 ** rng.integers(1, 18)))
            if name in ("note", "x"):
                number = TEXTS[rng.integers(len(TEXTS))]
            elif name == "type":
                number = rng.choice(["L", "S", "read", "1"])
            elif name == "hit":
                number = rng.integers(2)
            elif name in ("id", "instr_id"):
                number = instruction
            elif rng.random() < 0.5:
                number = NUMBERS[rng.integers(len(NUMBERS))].format(number)
            fields.append(f"{number}")
        lines.append(",".join(fields))
    return "\n".join(lines).encode()


def test_a_mutated_trace_is_read_correctly_or_refused():
    rng = np.random.default_rng(1)
    pieces = [b",", b'"', b'""', b"0x", b"pc,", b"addr", b"\r", b" ", b"-", b"1e5", b"f" * 15]
    pieces += [b"9" * 19, b"\xef\xbb\xbf", b"hit", b"L", b"\t"]
    texts = [random_text(rng) for _ in range(40)]
    check_mutations(2, texts, read, expected_rows, pieces)


def test_a_file_that_expands_a_thousandfold_is_held_piece_by_piece():
    member = b"12345678,0x12345678,%s\n" % (b"a" * 100) * 40_000

    def count(data):
        chunks = read_csv(byte_chunks(buffered(data), "some.txt"), "some.txt")
        assert sum(chunk.rows for chunk in chunks) == 40_000 * 50

    check_bounded(count, member, 50, 150_000_000, head=b"pc,addr,note\n")
