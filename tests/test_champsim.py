"""Instruction records of both sizes, packed independently by struct."""

import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from trace_mutations import buffered, check_bounded, check_mutations

from packd_jax.traces.accesses import CHUNK_ACCESSES
from packd_jax.traces.byte_source import byte_chunks
from packd_jax.traces.champsim import is_champsim, read_champsim, record_size
from packd_jax.traces.load_trace import TraceError

STRUCTS = {64: struct.Struct("<Q2B2B4B2Q4Q"), 96: struct.Struct("<Q2B4B4B6x4Q4Q2B6x")}
OPERANDS = {64: (2, 4), 96: (4, 4)}
WORDS = st.integers(0, 2**64 - 1)


def pack(size, ip, branch, taken, stores, loads):
    registers = [1, 2, 3, 4, 5, 6] if size == 64 else [1, 2, 3, 4, 5, 6, 7, 8]
    asid = [] if size == 64 else [9, 9]
    return STRUCTS[size].pack(ip, branch, taken, *registers, *stores, *loads, *asid)


def expected_rows(size, data):
    """(address, pc, is_store, instr_id) of each row, or None where the data is refused."""
    if len(data) % size:
        return None
    rows = []
    for number, fields in enumerate(STRUCTS[size].iter_unpack(data), 1):
        ip, branch, taken = fields[:3]
        stores, loads = OPERANDS[size]
        operands = fields[3 + (6 if size == 64 else 8) :]
        if ip == 0 or branch > 1 or taken > 1:
            return None
        rows += [(a, ip, False, number) for a in operands[stores : stores + loads] if a]
        rows += [(a, ip, True, number) for a in operands[:stores] if a]
    return rows or None


def rows_of(chunks):
    return [row for chunk in chunks for row in zip(*(column.tolist() for column in chunk))]


def read(size, data):
    return rows_of(read_champsim(byte_chunks(buffered(data), "some.txt"), "some.txt", size))


@st.composite
def records(draw, size):
    stores, loads = OPERANDS[size]
    operand = st.one_of(st.just(0), WORDS)
    fields = st.tuples(
        WORDS.filter(bool),
        st.integers(0, 1),
        st.integers(0, 1),
        st.lists(operand, min_size=stores, max_size=stores),
        st.lists(operand, min_size=loads, max_size=loads),
    )
    items = draw(st.lists(fields, min_size=1, max_size=30))
    return b"".join(pack(size, *item) for item in items)


@pytest.mark.parametrize("size", [64, 96])
@settings(max_examples=40)
@given(data=st.data(), chunk_bytes=st.integers(1, 300))
def test_records_in_pieces_of_any_size_are_read_as_they_are(size, data, chunk_bytes):
    packed = data.draw(records(size))
    chunks = [packed[i : i + chunk_bytes] for i in range(0, len(packed), chunk_bytes)]
    expected = expected_rows(size, packed)
    if expected is None:
        with pytest.raises(TraceError, match="no load or store"):
            list(read_champsim(chunks, "some.txt", size))
    else:
        assert rows_of(read_champsim(chunks, "some.txt", size)) == expected


def test_operands_of_one_instruction_are_loads_before_stores():
    data = pack(64, 5, 0, 0, [0, 40], [10, 0, 20, 0]) + pack(64, 6, 1, 1, [0, 0], [0] * 4)
    data += pack(64, 7, 0, 0, [50, 0], [0] * 4)
    expected = [(10, 5, False, 1), (20, 5, False, 1), (40, 5, True, 1), (50, 7, True, 3)]
    assert read(64, data) == expected


def random_records(rng, size, count):
    """A program's: some loads, fewer stores, some branches."""
    stores, loads = OPERANDS[size]

    def operands(slots, share):
        used = rng.random(slots) < share
        return (used * rng.integers(1, 2**47, slots)).tolist()

    return b"".join(
        pack(
            size,
            int(rng.integers(1, 2**47)),
            *([1, int(rng.integers(2))] if rng.random() < 0.2 else [0, 0]),
            operands(stores, 0.1),
            operands(loads, 0.2),
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 300])
def test_the_size_of_a_record_is_told_by_content(size, count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        data = random_records(rng, size, count)
        if count > 3:
            data += data[:40]  # truncated, which is for the reader to say
        assert record_size(data) == size
        assert is_champsim(data, size) and not is_champsim(data, 160 - size)


def test_of_two_sizes_that_fit_the_one_that_divides_the_file_is_taken():
    full = pack(96, 1, 0, 0, [1, 1, 1, 1], [1, 1, 1, 1])
    assert record_size(full) == 96
    assert record_size(pack(64, 1, 0, 0, [1, 1], [1, 1, 1, 1]) * 4) == 64


@pytest.mark.parametrize("head", [b"", b"1, 2, a0, b0, 1\n" * 20, bytes(200), b"\x07" * 200])
def test_what_fits_neither_size(head):
    assert record_size(head) == 0


@pytest.mark.parametrize("size", [64, 96])
def test_a_truncated_last_record_is_named_by_byte_and_record(size):
    data = random_records(np.random.default_rng(0), size, 300)
    with pytest.raises(TraceError) as caught:
        read(size, data[:-10])
    assert str(caught.value).startswith(
        f"some.txt: record 300 (byte {299 * size}): {size - 10} bytes at the end; expected {size} "
    )


@pytest.mark.parametrize("size", [64, 96])
def test_a_record_that_is_none_is_named(size):
    good = random_records(np.random.default_rng(0), size, 100) * 200  # two pieces and more
    operands = [[0] * n for n in OPERANDS[size]]
    for ip, branch, taken, given_text in [
        (0, 0, 0, "ip = 0"),
        (5, 2, 0, "is_branch = 2, taken = 0"),
        (5, 1, 255, "is_branch = 1, taken = 255"),
    ]:
        bad = pack(size, ip, branch, taken, *operands)
        with pytest.raises(TraceError) as caught:
            read(size, good + bad + good)
        assert str(caught.value).startswith(
            f"some.txt: record 20001 (byte {20_000 * size}): {given_text}"
        )
        assert f"--format=champsim{160 - size}" in str(caught.value)


def test_chunks_are_full_and_lose_nothing_between_them():
    record = pack(64, 5, 0, 0, [1, 2], [3, 4, 5, 6])
    count = CHUNK_ACCESSES // 6 + 1000
    chunks = list(read_champsim([record * count], "some.txt", 64))
    assert len(chunks) == 2 and CHUNK_ACCESSES - 6 < chunks[0].rows <= CHUNK_ACCESSES
    address, instr_id = (np.concatenate([chunk[i] for chunk in chunks]) for i in (0, 3))
    np.testing.assert_array_equal(address, [3, 4, 5, 6, 1, 2] * count)
    np.testing.assert_array_equal(instr_id, np.arange(6 * count) // 6 + 1)


@pytest.mark.parametrize("size", [64, 96])
def test_a_mutated_trace_is_read_correctly_or_refused(size):
    rng = np.random.default_rng(size)
    contents = [random_records(rng, size, rng.integers(5, 20)) for _ in range(20)]
    pieces = [bytes(8), bytes(size), random_records(rng, size, 1), rng.bytes(size)]
    check_mutations(
        3,
        contents,
        lambda data: read(size, data),
        lambda data: expected_rows(size, data),
        pieces,
    )


def test_a_file_that_expands_a_thousandfold_is_held_piece_by_piece():
    member = pack(64, 5, 0, 0, [0, 0], [3, 0, 0, 0]) * 50_000

    def count(data):
        chunks = read_champsim(byte_chunks(buffered(data), "some.txt"), "some.txt", 64)
        assert sum(chunk.rows for chunk in chunks) == 50_000 * 60

    check_bounded(count, member, 60, 110_000_000)
