"""The ML-DPC prefetch file: written, checked by rules of its own, and damaged."""

import os
import re
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.prefetch.mldpc_file import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    parse_prefetches,
    read_prefetch_file,
    write_prefetch_file,
)
from packd_jax.traces.load_trace import LoadTrace, TraceError

MUTATED_FILES = 10_000
IDS = st.lists(st.integers(0, 40), min_size=1, max_size=40)
BLOCKS = st.integers(-1, 2**58 - 1) | st.integers(-1, 3)


def trace_of(ids):
    ids = np.asarray(ids, np.int64)
    zeros = np.zeros(len(ids), np.uint64)
    return LoadTrace(ids, ids, zeros, zeros, zeros > 0)


def check(text, ids):
    """The rules of the format, without the code under test; returns prefetches by id."""
    found = {}
    for line in text.decode("ascii").splitlines():
        match = re.fullmatch(r"(0|[1-9][0-9]*) (0|[1-9a-f][0-9a-f]{0,15})", line)
        assert match, line
        instr_id, address = int(match[1]), int(match[2], 16)
        assert instr_id in ids and address < 2**64 and address % 64 == 0 and address
        found.setdefault(instr_id, []).append(address)
    assert all(len(addresses) <= 2 for addresses in found.values())
    assert not text or text.endswith(b"\n")
    return found


@settings(max_examples=60)
@given(IDS, st.data())
def test_what_is_written_follows_the_rules_and_reads_back(tmp_path_factory, ids, data):
    path = tmp_path_factory.mktemp("file", numbered=True) / "prefetches.txt"
    degree = data.draw(st.integers(1, 4))
    row = st.lists(BLOCKS, min_size=degree, max_size=degree)
    blocks = np.array(data.draw(st.lists(row, min_size=len(ids), max_size=len(ids))), np.int64)
    from_instr = data.draw(st.integers(0, 41))
    trace = trace_of(ids)
    lines = write_prefetch_file(path, trace, blocks, from_instr)
    text = path.read_bytes()
    expected = {}
    for instr_id, chosen in zip(ids, blocks.tolist()):
        if instr_id >= from_instr and instr_id not in expected:  # the first load of an id
            wanted = [64 * block for block in dict.fromkeys(chosen) if block > 0]
            expected[instr_id] = wanted[:2]
    expected = {instr_id: wanted for instr_id, wanted in expected.items() if wanted}
    found = check(text, set(ids))
    assert found == expected and list(found) == list(expected)
    back = read_prefetch_file(path, trace)
    assert len(back.instr_id) == len(text.splitlines()) == lines
    flat = [(i, address) for i, wanted in expected.items() for address in wanted]
    assert list(zip(back.instr_id.tolist(), back.address.tolist())) == flat


def test_an_example_of_the_format(tmp_path):
    path = tmp_path / "p.txt"
    blocks = np.array([[0x28E837C88B00 >> 6, -1], [0, 0], [1, 2]])
    assert write_prefetch_file(path, trace_of([574, 575, 600]), blocks) == 3
    assert path.read_bytes() == b"574 28e837c88b00\n600 40\n600 80\n"


def test_large_files_are_written_and_read_in_pieces(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.integers(1, 50, 100_000))
    blocks = rng.integers(1, 1 << 58, (len(ids), 2))
    path = tmp_path / "p.txt"
    write_prefetch_file(path, trace_of(ids), blocks)
    assert path.stat().st_size > 3 * CHUNK_BYTES
    back = read_prefetch_file(path)
    assert np.array_equal(back.instr_id, np.repeat(ids, 2))
    assert np.array_equal(back.address, blocks.reshape(-1).astype(np.uint64) << np.uint64(6))
    assert len(check(path.read_bytes(), set(ids.tolist()))) == len(ids)


def parse(text, chunk=7):
    return parse_prefetches((text[i : i + chunk] for i in range(0, len(text), chunk)), "p.txt")


GOOD = b"7 a0"


@pytest.mark.parametrize(
    "line, given_text, expected",
    [
        (b"7", "1 column(s) in '7'", "2 columns '<instruction id> <address>'"),
        (b"7 a0 1", "3 column(s) in '7 a0 1'", "2 columns"),
        (b"7  a0", "3 column(s)", "one blank between"),
        (b"7, a0", "id in '7, a0'", "a decimal number without a sign"),
        (b" 7 a0", "3 column(s)", "2 columns"),
        (b"-7 a0", "id in '-7 a0'", "a decimal number without a sign"),
        (b"7f a0", "id in", "a decimal number"),
        (b"9223372036854775808 a0", "id in", "a number below 2**63"),
        (b"7 0xa0", "address in '7 0xa0'", "remove the prefix"),
        (b"7 g", "address in '7 g'", "a hexadecimal number"),
        (b"7 ", "1 column(s)", "2 columns"),
        (b"7 10000000000000000", "address in", "a number below 2**64"),
        (b"7\ta0", "1 column(s)", "2 columns"),
        (b"\x00\xff", "1 column(s) in '\\x00\\xff'", "2 columns"),
        (b"7 a0" + b" " * MAX_LINE_BYTES, "a line that begins '7 a0", "lines of at most 256"),
        (b"7" * 5000, "a line that begins", "lines of at most 256 bytes"),
    ],
)
@pytest.mark.parametrize("after", [b"", b"\n", b"\n" + GOOD])
def test_a_bad_line_is_named(line, given_text, expected, after):
    with pytest.raises(TraceError) as caught:
        parse(GOOD + b"\r\n\n" + line + after)
    message = str(caught.value)
    assert message.startswith("p.txt: line 3: ") and len(message) < 200
    given_part, _, expected_part = message.partition("; expected ")
    assert given_text in given_part and expected in expected_part


def test_layout_that_carries_no_meaning_is_accepted():
    back = parse(b"\n7 A0 \t\r\n  \n9223372036854775807 ffffffffffffffff")
    assert back.instr_id.tolist() == [7, 2**63 - 1] and back.address.tolist() == [0xA0, 2**64 - 1]
    assert len(parse(b"").instr_id) == 0


def test_files_that_break_the_rules_are_refused(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"7 40\n8 40\n7 80\n7 c0\n")
    with pytest.raises(TraceError, match="3 prefetches of instruction id 7; expected at most 2"):
        read_prefetch_file(path)
    path.write_bytes(b"7 40\n9 40\n")
    with pytest.raises(TraceError, match=r"instruction id 9 \(1 such\); expected ids of the trace"):
        read_prefetch_file(path, trace_of([7, 8]))
    with pytest.raises(TraceError, match="cannot be read"):
        read_prefetch_file(tmp_path / "absent")
    with pytest.raises(TraceError, match="cannot be read"):
        read_prefetch_file(tmp_path)


def test_what_is_no_choice_of_blocks_is_not_written(tmp_path):
    path = tmp_path / "p.txt"
    for blocks, message in (
        (np.zeros((2, 2), np.int64), r"blocks: int64\[2, 2\]; expected integers \[3, degree\]"),
        (np.zeros((3, 2)), r"blocks: float64\[3, 2\]; expected integers"),
        (np.full((3, 1), 1 << 58), "expected block numbers, addresses >> 6"),
    ):
        with pytest.raises(ValueError, match=message):
            write_prefetch_file(path, trace_of([1, 2, 3]), blocks)
    with pytest.raises(TraceError, match="cannot be written"):
        write_prefetch_file(tmp_path / "absent" / "p.txt", trace_of([1]), np.ones((1, 1), int))
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"7 40\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # as a full disk would
    try:
        with pytest.raises(TraceError, match="cannot be written"):
            write_prefetch_file(path, trace_of(range(9000)), np.ones((9000, 1), np.int64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"7 40\n" and os.listdir(tmp_path) == ["p.txt"]


LINE = re.compile(rb"([0-9]+) ([0-9a-fA-F]+)[ \t\r]*")


def expected_prefetches(text):
    """An independent reading: (id, address) pairs, or None where the text is no prefetch file."""
    found = []
    for line in text.split(b"\n"):
        if len(line) > MAX_LINE_BYTES:
            return None
        if not line.strip(b" \t\r"):
            continue
        match = LINE.fullmatch(line)
        if match is None or int(match[1]) >= 2**63 or int(match[2], 16) >= 2**64:
            return None
        found.append((int(match[1]), int(match[2], 16)))
    return found


PIECES = [b"\n", b"\r\n", b" ", b"0", b"9" * 19, b"f" * 15, b"F", b"0x", b"-", b"\0", b"x" * 300]


def mutate(rng, data):
    at, kind = int(rng.integers(len(data))), rng.integers(6)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[at + rng.integers(1, 9) :]
    if kind == 3:
        return data[:at] + PIECES[rng.integers(len(PIECES))] + data[at:]
    if kind == 4:
        return data[: at + 20] + data[at : at + 20] + data[at + 20 :]
    return data[at:] + data[:at]


def test_a_mutated_file_is_read_correctly_or_refused():
    rng = np.random.default_rng(4)
    read = 0
    for _ in range(MUTATED_FILES):
        rows = rng.integers(1, 12)
        ids, addresses = rng.integers(0, 10 ** rng.integers(1, 18), (2, rows)).tolist()
        data = b"".join(b"%d %x\n" % pair for pair in zip(ids, addresses))
        for _ in range(rng.integers(1, 3)):
            data = mutate(rng, data) if data else data
        expected = expected_prefetches(data)
        try:
            back = parse(data, int(rng.integers(1, 200)))
        except TraceError as error:
            assert expected is None, (data, str(error))
            assert str(error).startswith("p.txt: line ") and "; expected " in str(error)
            assert len(str(error)) < 300
        else:
            assert list(zip(back.instr_id.tolist(), back.address.tolist())) == expected, data
            read += 1
    assert 0.1 < read / MUTATED_FILES < 0.9  # else one of the two branches is hardly tested
