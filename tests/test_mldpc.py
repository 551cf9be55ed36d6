import gzip
import io
import lzma
import os
import resource

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from packd_jax.traces.load_trace import LoadTrace, TraceError
from packd_jax.traces.mldpc import BLOCK_ROWS, MAX_LINE_BYTES, is_mldpc, read_mldpc, write_trace
from packd_jax.traces.read_trace import read_trace, read_trace_file

INT64, UINT64 = st.integers(0, 2**63 - 1), st.integers(0, 2**64 - 1)
LOADS = st.lists(st.tuples(INT64, INT64, UINT64, UINT64, st.booleans()), min_size=1, max_size=30)
LIMITS = [(0, 0, 0, 0, False), (2**63 - 1, 2**63 - 1, 2**64 - 1, 2**64 - 1, True)]


def to_trace(loads):
    dtypes = (np.int64, np.int64, np.uint64, np.uint64, np.bool_)
    return LoadTrace(*(np.array(column, dtype) for column, dtype in zip(zip(*loads), dtypes)))


def to_loads(trace):
    return list(zip(*(column.tolist() for column in trace)))


def line_of(load):
    return b"%d, %d, %x, %x, %d" % load


def parse(text):
    return read_trace_file(io.BufferedReader(io.BytesIO(text)), "some.txt")


def message_of(text):
    with pytest.raises(TraceError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".txt", ".txt.gz", ".txt.xz"])
def test_a_written_trace_reads_back_exactly(suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("mldpc") / f"trace{suffix}"

    @settings(max_examples=40)
    @given(LOADS)
    @example(LIMITS)
    def check(loads):
        write_trace(path, to_trace(loads))
        raw = path.read_bytes()
        text = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)(raw)
        assert text == b"".join(line_of(load) + b"\n" for load in loads)
        back = read_trace(path)
        assert to_loads(back) == loads
        assert [c.dtype.name for c in back] == ["int64", "int64", "uint64", "uint64", "bool"]

    check()
    assert os.listdir(path.parent) == [path.name]


def test_a_trace_of_several_blocks_and_strides_reads_back(tmp_path):
    rng = np.random.default_rng(0)
    rows = 5 * BLOCK_ROWS + 3
    trace = LoadTrace(
        rng.integers(0, 2**40, rows),
        rng.integers(0, 2**62, rows),
        rng.integers(0, 2**64, rows, np.uint64),
        rng.integers(0, 2**20, rows, np.uint64),
        rng.random(rows) < 0.5,
    ).take(slice(None, None, 2))
    write_trace(tmp_path / "t", trace)
    assert all(np.array_equal(a, b) for a, b in zip(read_trace(tmp_path / "t"), trace))


@settings(max_examples=60)
@given(LOADS, st.integers(1, 90), st.data())
def test_layout_that_carries_no_meaning_is_accepted(loads, chunk_bytes, data):
    """Comments, blank lines, CRLF, upper case, leading zeros, no final newline; any chunk size."""
    lines = []
    for load in loads:
        extra = [b"", b" \t", b"*** sim, at 7", b"Read 5", b"***", b"***\xff\x00"]
        lines += data.draw(st.lists(st.sampled_from(extra), max_size=2))
        styles = (b"%d, %d, %x, %x, %d", b"%d, %d, %X, %X, %d ", b"00%d, %d, 0%x, %x, %d\r")
        lines.append(data.draw(st.sampled_from(styles)) % load)
    text = data.draw(st.sampled_from([b"\n", b"\r\n"])).join(lines)
    text += data.draw(st.sampled_from([b"", b"\n", b"\r\n\n"]))
    chunks = (text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes))
    assert to_loads(read_mldpc(chunks, "some.txt")) == loads
    assert to_loads(parse(text)) == loads


GOOD = b"1, 2, a0, b0, 1"


@pytest.mark.parametrize(
    "line, given_text, expected",
    [
        (b"1, 2, a0, b0", "4 column(s) in '1, 2, a0, b0'", "5 columns 'instr_id, cycle, ADDR"),
        (b"1, 2, a0, b0, 1, 7", "6 column(s) in '1, 2, a0, b0, 1, 7'", "5 columns"),
        (b"1,2,a0,b0,1", "1 column(s) in '1,2,a0,b0,1'", "5 columns"),
        (b"7", "1 column(s) in '7'", "5 columns"),
        (b" 1, 2, a0, b0, 1", "instr_id = ' 1'", "a decimal number"),
        (b"x1, 2, a0, b0, 1", "instr_id = 'x1'", "a decimal number"),
        (b", 2, a0, b0, 1", "instr_id = ''", "a decimal number"),
        (b"-1, 2, a0, b0, 1", "instr_id = '-1'", "a decimal number without a sign"),
        (b"+1, 2, a0, b0, 1", "instr_id = '+1'", "a decimal number without a sign"),
        (b"1, 2.5, a0, b0, 1", "cycle = '2.5'", "a decimal number"),
        (b"1, -2, a0, b0, 1", "cycle = '-2'", "a decimal number without a sign"),
        (b"9223372036854775808, 2, a0, b0, 1", "instr_id = '922337203", "a number below 2**63"),
        (b"1, 99999999999999999999999, a0, b0, 1", "cycle = '9999999", "a number below 2**63"),
        (b"1, 2, g0, b0, 1", "ADDR = 'g0'", "a hexadecimal number"),
        (b"1, 2, , b0, 1", "ADDR = ''", "a hexadecimal number"),
        (b"1, 2, -a0, b0, 1", "ADDR = '-a0'", "a hexadecimal number"),
        (
            b"1, 2, 0xa0, b0, 1",
            "ADDR = '0xa0'",
            "a hexadecimal number without 0x; remove the prefix",
        ),
        (b"1, 2, a0, 0Xb0, 1", "IP = '0Xb0'", "a hexadecimal number without 0x; remove the prefix"),
        (b"1, 2, a0, b_0, 1", "IP = 'b_0'", "a hexadecimal number"),
        (b"1, 2, 10000000000000000, b0, 1", "ADDR = '100000", "a number below 2**64"),
        (b"1, 2, a0, 1ffffffffffffffff, 1", "IP = '1fffff", "a number below 2**64"),
        (b"1, 2, a0, b0, 2", "hit = '2'", "0 or 1"),
        (b"1, 2, a0, b0, 11", "hit = '11'", "0 or 1"),
        (b"1, 2, a0, b0, ", "4 column(s)", "5 columns"),
        (b"1, 2, a0, b0, 1 1", "hit = '1 1'", "0 or 1"),
        (b"1, 2, a0, b0, true", "hit = 'true'", "0 or 1"),
        (b"1, 2, a0, b0, 1 \r x", "hit = '1 \\\\r x'", "0 or 1"),
        (b"\x00\xff\x01", "1 column(s) in '\\\\x00\\\\xff\\\\x01'", "5 columns"),
        (b"**, 2, a0, b0, 1", "instr_id = '**'", "a decimal number"),
        (b"Rea, 2, a0, b0, 1", "instr_id = 'Rea'", "a decimal number"),
    ],
)
@pytest.mark.parametrize("after", [b"", b"\n", b"\n" + GOOD + b"\n"])
def test_a_bad_line_is_named_with_what_was_given_and_expected(line, given_text, expected, after):
    message = message_of(b"*** comment\n" + GOOD + b"\r\n\n" + line + after)
    assert message.startswith("some.txt: line 4: ")
    assert given_text.replace("\\\\", "\\") in message
    assert f"; expected {expected}" in message


@pytest.mark.parametrize("lines", [3, 100_000])
def test_the_line_number_is_right_in_any_chunk(lines):
    text = (GOOD + b"\n") * lines + b"1, 2, a0, b0, 5\n" + (GOOD + b"\n") * 3
    assert message_of(text).startswith(f"some.txt: line {lines + 1}: hit = '5'")


@pytest.mark.parametrize("start", [b"", b"***", b"Read"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + GOOD])
def test_a_line_beyond_the_limit_is_refused_and_shown_cut(start, end):
    body = start + b"9" * (MAX_LINE_BYTES + 1 - len(start))
    message = message_of(GOOD + b"\n" + body + end)
    assert message.startswith("some.txt: line 2: a line that begins '")
    assert message.endswith("...; expected lines of at most 4096 bytes")
    assert len(message) < 160
    if start:
        assert to_loads(parse(body[:-1] + b"\n" + GOOD)) == [(1, 2, 0xA0, 0xB0, True)]


@pytest.mark.parametrize("text", [b"", b"\n\r\n  \n", b"*** a\nRead b\n"])
def test_a_file_without_a_load_is_an_error(text):
    message = message_of(text)
    assert message == (
        "some.txt: the whole file: no load; "
        "expected lines 'instr_id, cycle, ADDR, IP, hit' (ML-DPC text)"
    )


def test_recognition_looks_at_the_first_line_that_says_something():
    assert is_mldpc(b"*** c\n\n Read\n"[:8] + GOOD)
    assert is_mldpc(b"instr_id, cycle, address, pc, hit\n")
    assert is_mldpc(b"12 34\n")
    assert not is_mldpc(b"\x7fELF\x02\x01\x01\n" + GOOD)
    assert not is_mldpc(b"*** c\nI  00404de0,2\n" + GOOD)


@pytest.mark.parametrize(
    "field, column, message",
    [
        ("instr_id", np.array([3, -4]), "row 1: instr_id = -4; expected 0 or more"),
        ("cycle", np.array([-1, 0]), "row 0: cycle = -1; expected 0 or more"),
        ("address", np.array([1, 2]), "column address: int64[2]; expected uint64[2]"),
        ("pc", np.zeros(3, np.uint64), "column pc: uint64[3]; expected uint64[2]"),
        ("hit", np.zeros(2, np.uint8), "column hit: uint8[2]; expected bool[2]"),
    ],
)
def test_a_trace_that_the_format_cannot_hold_is_not_written(field, column, message, tmp_path):
    trace = to_trace(LIMITS)._replace(**{field: column})
    with pytest.raises(TraceError) as caught:
        write_trace(tmp_path / "t.txt", trace)
    assert str(caught.value) == f"{tmp_path / 't.txt'}: {message}"
    assert os.listdir(tmp_path) == []


def test_an_empty_trace_is_not_written(tmp_path):
    with pytest.raises(TraceError, match="trace: no load; expected at least one load"):
        write_trace(tmp_path / "t.txt", to_trace(LIMITS).take(slice(0, 0)))


@pytest.mark.parametrize("name", ["folder", "absent/t.txt", "file/t.txt"])
def test_a_file_that_cannot_be_written_is_an_error(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TraceError) as caught:
        write_trace(tmp_path / name, to_trace(LIMITS))
    assert str(caught.value).startswith(f"{tmp_path / name}: file: cannot be written (")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("name", ["t.txt", "t.gz", "t.xz"])
def test_a_write_that_fails_midway_leaves_the_old_file(name, tmp_path):
    path = tmp_path / name
    write_trace(path, to_trace(LIMITS))
    old = path.read_bytes()
    rng = np.random.default_rng(0)
    big = to_trace(list(zip(*rng.integers(0, 2**40, (4, 2000)).tolist(), [True] * 2000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # as a full disk would
    try:
        with pytest.raises(TraceError, match="cannot be written"):
            write_trace(path, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [name]


def test_equal_traces_make_equal_files(tmp_path):
    for suffix in (".gz", ".xz"):
        write_trace(tmp_path / f"a{suffix}", to_trace(LIMITS))
        write_trace(tmp_path / f"b{suffix}", to_trace(LIMITS))
        first, second = ((tmp_path / f"{n}{suffix}").read_bytes() for n in "ab")
        assert first == second
