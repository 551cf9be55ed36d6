import gzip
import lzma
import re
import struct
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from trace_mutations import COMPRESSORS, buffered, check_mutations

from packd_jax.config import CacheConfig, CacheLevelConfig
from packd_jax.traces.cache import llc_loads
from packd_jax.traces.gather import gather
from packd_jax.traces.load_trace import TraceError, window_rows
from packd_jax.traces.mldpc import MAX_LINE_BYTES
from packd_jax.traces.read_trace import FORMATS, read_trace, read_trace_file, trace_chunks

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
KINDS = list(COMPRESSORS)


def random_text(rng, lines):
    text = b""
    for _ in range(lines):
        ids = rng.integers(0, 10 ** rng.integers(1, 18), 4).tolist()
        text += b"%d, %d, %x, %x, %d\n" % (*ids, rng.integers(2))
        if rng.random() < 0.1:
            text += (b"*** c\n", b"Read\n", b"\r\n")[rng.integers(3)]
    return text


def parse(data):
    return read_trace_file(buffered(data), "some.txt")


def message_of(data):
    with pytest.raises(TraceError) as caught:
        parse(data)
    return str(caught.value)


LOAD = re.compile(rb"([0-9]+), ([0-9]+), ([0-9a-fA-F]+), ([0-9a-fA-F]+), ([01])[ \t\r]*")


def expected_loads(text):
    """An independent reading of ML-DPC text: its loads, or None where it is not a trace."""
    loads = []
    for line in text.split(b"\n"):
        if len(line) > MAX_LINE_BYTES:
            return None
        if line.startswith((b"***", b"Read")) or not line.strip(b" \t\r"):
            continue
        match = LOAD.fullmatch(line)
        if match is None:
            return None
        decimal = [int(field) for field in match.groups()[:2]]
        hexadecimal = [int(field, 16) for field in match.groups()[2:4]]
        if max(decimal) >= 2**63 or max(hexadecimal) >= 2**64:
            return None
        loads.append((*decimal, *hexadecimal, match.group(5) == b"1"))
    return loads or None


def test_a_mutated_trace_is_read_correctly_or_refused():
    rng = np.random.default_rng(2402)
    texts = [random_text(rng, rng.integers(20, 60)) for _ in range(20)]
    pieces = [b"\r\n", b"\r", b" ", b"0", b"9" * 19, b"f" * 15, b"F", b"0x", b"-", b", "]
    pieces += [b"***", b"Read", b"\n***"]

    def read(data):
        return list(zip(*(column.tolist() for column in parse(data))))

    check_mutations(2402, texts, read, expected_loads, pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_compression_is_recognised_by_content_whatever_the_name(kind, tmp_path):
    text = random_text(np.random.default_rng(1), 50)
    for name in ("t", "t.gz", "t.xz", "t.txt"):
        (tmp_path / name).write_bytes(COMPRESSORS[kind](text))
        trace = read_trace(tmp_path / name)
        assert list(zip(*(column.tolist() for column in trace))) == expected_loads(text)
        assert read_trace(str(tmp_path / name)).rows == trace.rows


@pytest.mark.parametrize("kind", KINDS[1:])
def test_concatenated_streams_are_one_trace(kind):
    text = random_text(np.random.default_rng(1), 50)
    data = COMPRESSORS[kind](text[:333]) + COMPRESSORS[kind](text[333:])
    assert parse(data).rows == len(expected_loads(text))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_truncated_data_is_named_with_the_lines_before_it(kind):
    text = random_text(np.random.default_rng(1), 3000)
    data = COMPRESSORS[kind](text)
    match = re.fullmatch(
        rf"some\.txt: after line (\d+): truncated {kind}; expected the rest of it; .*",
        message_of(data[: len(data) // 2]),
    )
    assert 0.3 < int(match[1]) / text.count(b"\n") < 0.7
    assert f"after line 0: truncated {kind}" in message_of(data[:20])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_damaged_data_is_named_with_the_lines_before_it(kind):
    text = random_text(np.random.default_rng(1), 3000)
    data = bytearray(COMPRESSORS[kind](text))
    data[-7] ^= 1  # in gzip's checksum, in xz's footer
    message = message_of(bytes(data))
    assert re.match(rf"some\.txt: after line \d+: damaged {kind} \(", message)
    assert message.endswith("; expected an intact file; copy it again")


TITLES = " or ".join(trace_format.title for trace_format in FORMATS.values())


@pytest.mark.parametrize("damage", [b"\0ELF\1\2", b"\xfd7zXY\0abc", b"hello world\n", b"I am,2"])
def test_what_is_no_known_format_is_refused_with_its_first_bytes(damage):
    message = message_of(damage)
    assert message == f"some.txt: beginning of the file: {repr(damage)[1:]}; expected {TITLES}"


@pytest.mark.parametrize(
    "name, reason", [("absent.txt", "No such file"), ("", "directory"), ("a\0b", "null")]
)
def test_a_file_that_cannot_be_opened_is_named(name, reason, tmp_path):
    path = f"{tmp_path}/{name}"
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"{path}: file: cannot be opened (")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; expected a readable trace file")


def test_a_file_that_expands_a_thousandfold_is_held_piece_by_piece():
    assert "a line that begins '1111" in message_of(lzma.compress(b"1" * 30_000_000, preset=0))
    data = gzip.compress(b"***" + b"\n***" * 8_000_000 + b"\n1, 2, a, b, 1", 1)
    tracemalloc.start()
    trace = parse(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trace.address.tolist() == [10]
    assert peak_bytes < 16_000_000


def test_a_recorded_trace_is_read_whole():
    path = SHARED_TRACES / "cc-kron.txt.xz"
    if not path.exists():
        pytest.skip("needs cc-kron.txt.xz in ../shared/data/traces beside the repository")
    trace = read_trace(path)
    assert trace.rows == 596_427
    assert abs(trace.hit.mean() - 0.221) < 0.0005
    assert len(np.unique(trace.pc)) == 6
    assert [column[0] for column in trace] == [1, 0, 0x1FFF0004B0, 0x404AE0, False]
    assert [column[-1] for column in trace] == [19999980, 29583750, 0xA605064, 0x405093, False]


TINY = CacheConfig(
    CacheLevelConfig(64 * 2, 1, 4), CacheLevelConfig(64 * 4, 2, 8), CacheLevelConfig(64 * 8, 2, 20)
)
ACCESSES = st.lists(
    st.tuples(st.integers(1, 40), st.booleans(), st.integers(1, 9)), min_size=1, max_size=60
)


def written(name, accesses):
    """A program of an access an instruction, (block, is_store, pc), in the format `name`."""
    if name == "csv":
        lines = (f"{pc},{64 * block},{'LS'[store]}" for block, store, pc in accesses)
        return "\n".join(["pc,address,type", *lines]).encode()
    if name == "lackey":
        lines = (f"I  {pc:x},4\n {'LS'[store]} {64 * block:x},4" for block, store, pc in accesses)
        return "\n".join(lines).encode()
    if name == "dynamorio":
        form = (
            "T7 ifetch 4 byte(s) @ 0x{2:x} non-branch\nT7 {1} 4 byte(s) @ 0x{0:x} by PC 0x{2:x}\n"
        )
        words = ("read", "write")
        return "".join(form.format(64 * b, words[store], pc) for b, store, pc in accesses).encode()
    zeros, stores = {"champsim64": (1, 2), "champsim96": (2, 4)}[name]
    records = b""
    for block, store, pc in accesses:
        operands = [64 * block * store] + [0] * (stores - 1) + [64 * block * (not store), 0, 0, 0]
        words = [pc, *[0] * zeros, *operands] + [0] * (name == "champsim96")
        records += struct.pack(f"<{len(words)}Q", *words)
    return records


@settings(max_examples=40)
@given(ACCESSES, st.sampled_from([name for name in FORMATS if name != "mldpc"]))
def test_all_accesses_of_any_format_pass_the_same_caches(accesses, name):
    block, is_store, pc = (np.array(column) for column in zip(*accesses))
    address, ids = 64 * block.astype(np.uint64), 1 + np.arange(len(block))
    expected = llc_loads(address, pc.astype(np.uint64), is_store, ids, TINY)
    for chosen in ("auto", name):
        chunks = trace_chunks(buffered(written(name, accesses)), "some.txt", TINY, format=chosen)
        if expected.rows == 0:
            with pytest.raises(TraceError, match="from 0 on: no load that reaches the LLC"):
                gather(chunks)
        else:
            for found, column in zip(gather(chunks), expected):
                np.testing.assert_array_equal(found, column)


def columns(trace):
    return [column.tolist() for column in trace]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 60), st.data())
def test_a_window_of_a_load_trace_is_that_of_window_rows(ids, start, data):
    """Ids step back, as those of out-of-order cores do."""
    stop = data.draw(st.one_of(st.none(), st.integers(start + 1, 70)))
    text = "".join(f"{i}, {n}, {n:x}, 1, 0\n" for n, i in enumerate(ids)).encode()
    whole = parse(text)
    expected = whole.take(window_rows(whole, start, stop or 99, "instructions"))
    chunks = trace_chunks(buffered(text), "some.txt", start=start, stop=stop)
    if expected.rows == 0:
        with pytest.raises(TraceError, match=f"instructions from {start} "):
            gather(chunks)
    else:
        assert columns(gather(chunks)) == columns(expected)


@settings(max_examples=30)
@given(ACCESSES, st.integers(0, 60), st.integers(1, 60))
def test_what_is_before_a_window_fills_the_caches_all_the_same(accesses, start, length):
    stop, text = start + length, written("lackey", accesses)
    try:
        whole = gather(trace_chunks(buffered(text), "some.txt", TINY))
    except TraceError:
        return
    expected = whole.take((whole.instr_id >= start) & (whole.instr_id < stop))
    if expected.rows:
        found = gather(trace_chunks(buffered(text), "some.txt", TINY, start=start, stop=stop))
        assert columns(found) == columns(expected)


def test_nothing_is_read_far_beyond_a_window(tmp_path):
    path = tmp_path / "trace.txt"
    good = b"".join(b"%d, 2, a0, b0, 1\n" % i for i in range(200_000))
    path.write_bytes(good + b"no load\n")
    assert read_trace(path, start=10, stop=20).instr_id.tolist() == list(range(10, 20))
    with pytest.raises(TraceError, match="line 200001"):
        read_trace(path, start=10)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"format": "vcd"}, "format: 'vcd'; expected auto, champsim64, champsim96, lackey, dyn"),
        ({"format": "lackey"}, "line 1: '1, 2, a, b, 1'; expected 'I  ADDR,size'"),
        ({"format": "champsim96"}, "record 1 (byte 0): 14 bytes at the end; expected 96 bytes"),
        ({"format": "lackey", "columns": {"pc": "x"}}, "columns: named for the format lackey"),
        ({"columns": {"pc": "x"}}, "header: '1, 2, a, b, 1'; expected a column address"),
        ({"start": 2}, "instructions from 2 on: no load that reaches the LLC; expected at"),
        ({"start": 2, "stop": 4}, "instructions from 2 to 3: no load that reaches the LLC"),
    ],
)
def test_options_that_do_not_fit_the_file(options, message, tmp_path):
    (tmp_path / "t").write_bytes(b"1, 2, a, b, 1\n")
    with pytest.raises(TraceError) as caught:
        read_trace(tmp_path / "t", **options)
    assert message in str(caught.value)


def test_columns_of_a_csv_file_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"what,where\n0x10,32\n")
    trace = read_trace(tmp_path / "t.csv", columns={"pc": "what", "address": "where"})
    assert columns(trace) == [[1], [0], [32], [16], [False]]
