"""Lackey text against an independent reading, damaged, and a sample whose loads are known."""

import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from test_accesses import blocks_of
from trace_mutations import buffered, check_bounded, check_mutations

from packd_jax.traces.accesses import CHUNK_ACCESSES, MAX_ACCESS_BYTES
from packd_jax.traces.byte_source import byte_chunks, open_trace
from packd_jax.traces.lackey import is_lackey, read_lackey
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.text_lines import MAX_LINE_BYTES

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
LINE = re.compile(rb"(I  | [LSM] )([0-9a-fA-F]+),([0-9]+)[ \t\r]*")
NOISE = (b"==", b"--", b"**", b"SB ")


def expected_rows(text):
    """(address, pc, is_store, instr_id) of each row, or None where the text is refused."""
    rows, instructions, pc = [], 0, None
    for line in text.split(b"\n"):
        if len(line) > MAX_LINE_BYTES:
            return None
        if line.startswith(NOISE) or not line.strip(b" \t\r"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            return None
        address, size = int(match[2], 16), int(match[3])
        if not 1 <= size <= MAX_ACCESS_BYTES or address + size > 2**64:
            return None
        kind = match[1].strip()
        if kind == b"I":
            instructions, pc = instructions + 1, address
            continue
        if pc is None:
            return None
        for is_store in {b"L": [False], b"S": [True], b"M": [False, True]}[kind]:
            rows += [(b, pc, is_store, instructions) for b in blocks_of(address, size)]
    return rows or None


def rows_of(chunks):
    return [row for chunk in chunks for row in zip(*(column.tolist() for column in chunk))]


def read(data):
    return rows_of(read_lackey(byte_chunks(buffered(data), "some.txt"), "some.txt"))


ADDRESSES = st.one_of(st.integers(0, 2**64 - MAX_ACCESS_BYTES), st.integers(0, 2**20))
SIZES = st.one_of(st.sampled_from([1, 2, 4, 8, 16, 32]), st.integers(1, MAX_ACCESS_BYTES))
LINES = st.lists(st.tuples(st.sampled_from("ILSM"), ADDRESSES, SIZES), max_size=30)
EXTRA = [b"", b" \t\r", b"==12== Lackey, an example tool", b"--12-- x", b"**12** y", b"SB 4"]


@settings(max_examples=40)
@given(LINES, st.integers(1, 60), st.data())
def test_text_in_pieces_of_any_size_is_read_as_it_says(lines, chunk_bytes, data):
    text = [b"I  04001000,3"]
    for kind, address, size in lines:
        text += data.draw(st.lists(st.sampled_from(EXTRA), max_size=1))
        form = data.draw(st.sampled_from(["{:08x},{}", "{:X},0{} ", "000{:x},{}\r"]))
        text.append((f"{kind}  " if kind == "I" else f" {kind} ").encode())
        text[-1] += form.format(address, size).encode()
    text = b"\n".join(text) + data.draw(st.sampled_from([b"", b"\n", b"\r\n\n"]))
    chunks = [text[i : i + chunk_bytes] for i in range(0, len(text), chunk_bytes)]
    expected = expected_rows(text)
    if expected is None:  # nothing but instructions
        with pytest.raises(TraceError, match="no load or store"):
            list(read_lackey(chunks, "some.txt"))
    else:
        assert rows_of(read_lackey(chunks, "some.txt")) == expected


def test_a_load_across_a_block_boundary_is_two_loads():
    text = b"I  400,2\n L 3c,8\n M 1000,4\n S 103f,1\nI  402,1\n M 7e,4\n"
    assert read(text) == [
        (0x3C, 0x400, False, 1),
        (0x40, 0x400, False, 1),
        (0x1000, 0x400, False, 1),
        (0x1000, 0x400, True, 1),
        (0x103F, 0x400, True, 1),
        (0x7E, 0x402, False, 2),
        (0x80, 0x402, False, 2),
        (0x7E, 0x402, True, 2),
        (0x80, 0x402, True, 2),
    ]


def test_chunks_are_full_and_lose_nothing_between_them():
    lines = CHUNK_ACCESSES // 256 + 100
    text = b"".join(b"I  %x,1\n M %x,%d\n" % (i + 1, i << 20, 1 << 14) for i in range(lines))
    chunks = list(read_lackey([text], "some.txt"))
    assert len(chunks) == 3 and sum(chunk.rows for chunk in chunks) == 512 * lines
    assert all(0.999 < chunk.rows / CHUNK_ACCESSES <= 1 for chunk in chunks[:2])
    address, _, is_store, instr_id = (np.concatenate(column) for column in zip(*chunks))
    row = np.arange(512 * lines)
    np.testing.assert_array_equal(instr_id, row // 512 + 1)
    np.testing.assert_array_equal(is_store, row % 512 >= 256)
    np.testing.assert_array_equal(address, (row // 512 << 20) + 64 * (row % 256))


@pytest.mark.parametrize(
    "line, given_text, expected",
    [
        (b"hello", "'hello'", "'I  ADDR,size', ' L ADDR,size'"),
        (b" L 0x10,4", "' L 0x10,4'", "'I  ADDR,size', ' L ADDR,size'"),
        (b"L 10,4", "'L 10,4'", "'I  ADDR,size', ' L ADDR,size'"),
        (b" L 10", "' L 10'", "'I  ADDR,size', ' L ADDR,size'"),
        (b" L 10,4 5", "' L 10,4 5'", "'I  ADDR,size', ' L ADDR,size'"),
        (b" S 1ffffffffffffffff,4", "ADDR = '1ffffffff", "a number below 2**64"),
        (b" S 10,0", "size = '0'", "1 to 16384 bytes"),
        (b" S 10,16385", "size = '16385'", "1 to 16384 bytes"),
        (b" S 10,99999999999999999999999999", "size = '9999999", "1 to 16384 bytes"),
        (b" L fffffffffffffffe,4", "' L ffffff", "an access that ends before address 2**64"),
        (b"\x00" * 70, "'\\x00", "'I  ADDR,size', ' L ADDR,size'"),
        (
            b" L " + b"0" * 5000 + b",4",
            "a line that begins ' L 0000",
            "lines of at most 4096 bytes",
        ),
    ],
)
def test_a_bad_line_is_named_with_what_was_given_and_expected(line, given_text, expected):
    for after in (b"", b"\nI  10,2\n"):
        with pytest.raises(TraceError) as caught:
            read(b"==1== x\nI  10,2\n S 10,8\n" + line + after)
        message = str(caught.value)
        assert message.startswith(f"some.txt: line 4: {given_text}")
        assert f"; expected {expected}" in message


def test_an_access_needs_an_instruction_before_it():
    with pytest.raises(
        TraceError, match=r"line 1: ' L 10,4' before any instruction; expected an 'I"
    ):
        read(b" L 10,4\nI  10,2\n")


def test_recognition():
    assert is_lackey(b"==3== Lackey\n\nI  04000000,3\n")
    assert is_lackey(b" S 1ffe,8\n")
    assert is_lackey(b"==3== nothing but what Valgrind says\n")
    assert not is_lackey(b"")
    assert not is_lackey(b"Intel 4\n")
    assert not is_lackey(b"1, 2, a, b, 1\nI  04000000,3\n")


def random_text(rng):
    text = b"==7== Lackey\n"
    for _ in range(rng.integers(10, 40)):
        text += b"I  %08x,%d\n" % (rng.integers(2**32), rng.integers(1, 16))
        for kind in rng.choice([b"L", b"S", b"M"], rng.integers(0, 3)).tolist():
            size = rng.choice([1, 4, 8, 32, 200]).tolist()
            text += b" %s %08x,%d\n" % (kind, rng.integers(2**48), size)
    return text


def test_a_mutated_trace_is_read_correctly_or_refused():
    rng = np.random.default_rng(1)
    pieces = [b"I  ", b" L ", b" M 7,9\n", b",", b"==", b"SB ", b"9" * 19, b"f" * 15, b"\r", b" "]
    texts = [random_text(rng) for _ in range(20)]
    check_mutations(2, texts, read, expected_rows, pieces)


def test_a_file_that_expands_a_thousandfold_is_held_piece_by_piece():
    member = b"I  4000000,4\n" + b" L 4000000,4\n" * 300_000

    def count(data):
        chunks = read_lackey(byte_chunks(buffered(data), "some.txt"), "some.txt")
        assert sum(chunk.rows for chunk in chunks) == 300_000 * 40

    check_bounded(count, member, 40, 100_000_000)


@pytest.fixture(scope="module")
def sample():
    """The sample's first instructions, filtered by cold caches, and the loads of its whole run."""
    path = SHARED_TRACES / "lackey-bfs-kron.txt.xz"
    if not path.exists():
        pytest.skip(f"needs {path.name} in ../shared/data/traces beside the repository")
    return read_trace(path), read_trace(SHARED_TRACES / "bfs-kron.txt.xz", stop=157_985)


def test_the_sample_gives_the_loads_of_its_run_but_for_cold_caches(sample):
    """`bfs-kron` begins at the same instruction, with caches that initialisation has warmed.

    All its 8,041 lines come out, in order, with the same ids, addresses and PCs. What differs
    is the first touch of a block and what follows from it: 46 blocks that warm L1D or L2 held
    are lines here, 1,028 lines are misses where the warm LLC hit, and time runs ahead.
    """
    found, known = sample
    assert (found.rows, known.rows) == (8_087, 8_041)
    lines = set(zip(*(column.tolist() for column in (known.instr_id, known.address, known.pc))))
    ours = zip(*(column.tolist() for column in (found.instr_id, found.address, found.pc)))
    extra = np.array([line not in lines for line in ours])
    same = found.take(~extra)
    for name in ("instr_id", "address", "pc"):
        np.testing.assert_array_equal(getattr(same, name), getattr(known, name))
    cold = same.hit != known.hit
    assert extra.sum() == 46 and cold.sum() == 1_028
    assert not found.hit[extra].any() and not same.hit[cold].any()

    with open_trace(SHARED_TRACES / "lackey-bfs-kron.txt.xz") as file:
        (accesses,) = read_lackey(byte_chunks(file, "sample"), "sample")
    _, first = np.unique(accesses.address >> np.uint64(6), return_index=True)
    first_touches = set(zip(accesses.instr_id[first].tolist(), accesses.address[first].tolist()))
    for trace in (found.take(extra), same.take(cold)):
        assert set(zip(trace.instr_id.tolist(), trace.address.tolist())) <= first_touches

    ahead = same.cycle - known.cycle
    assert np.all(np.diff(ahead) >= -1)  # it never waits less than with warm caches; rounding
    # A cold miss waits (200 - 30) / 4 longer than an LLC hit, a new line up to 200 / 4 longer.
    assert 1_028 * 170 / 4 <= ahead[-1] <= 1_028 * 170 / 4 + 46 * 200 / 4
