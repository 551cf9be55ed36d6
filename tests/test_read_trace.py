import gzip
import io
import lzma
import re
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.mldpc import MAX_LINE_BYTES
from packd_jax.traces.read_trace import read_trace, read_trace_file

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
COMPRESSORS = {"file": bytes, "gzip data": gzip.compress, "xz data": lzma.compress}
KINDS = list(COMPRESSORS)
MUTATED_TRACES = 10_000


def random_text(rng, lines):
    text = b""
    for _ in range(lines):
        ids = rng.integers(0, 10 ** rng.integers(1, 18), 4).tolist()
        text += b"%d, %d, %x, %x, %d\n" % (*ids, rng.integers(2))
        if rng.random() < 0.1:
            text += (b"*** c\n", b"Read\n", b"\r\n")[rng.integers(3)]
    return text


def parse(data):
    return read_trace_file(io.BufferedReader(io.BytesIO(data)), "some.txt")


def message_of(data):
    with pytest.raises(TraceError) as caught:
        parse(data)
    return str(caught.value)


LOAD = re.compile(rb"([0-9]+), ([0-9]+), ([0-9a-fA-F]+), ([0-9a-fA-F]+), ([01])[ \t\r]*")


def expected_loads(data):
    """An independent reading of a file: its loads, or None where it is not a trace."""
    text, file = data, io.BytesIO(data)
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            with lzma.LZMAFile(file, format=lzma.FORMAT_XZ) as stream:
                text = stream.read()
        elif data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as stream:
                text = stream.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None
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


def flip(rng, data, at):
    return data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :]


def truncate(rng, data, at):
    return data[:at]


def delete(rng, data, at):
    return data[:at] + data[at + rng.integers(1, 9) :]


def insert(rng, data, at):
    pieces = [b"\n", b"\r\n", b"\r", b" ", b"0", b"9" * 19, b"f" * 15, b"F", b"0x", b"-", b", "]
    pieces += [b"***", b"Read", b"\n***", b"\0", b"\xff" * 3, b"x" * 5000, rng.bytes(6)]
    return data[:at] + pieces[rng.integers(len(pieces))] + data[at:]


def duplicate(rng, data, at):
    stop = at + rng.integers(1, 200)
    return data[:stop] + data[at:stop] + data[stop:]


def repeat_all(rng, data, at):
    return data + data[-at:]


def shuffle_lines(rng, data, at):
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


MUTATIONS = [flip, truncate, delete, insert, duplicate, repeat_all, shuffle_lines]


def test_a_mutated_trace_is_read_correctly_or_refused():
    rng = np.random.default_rng(2402)
    texts = [random_text(rng, rng.integers(20, 60)) for _ in range(20)]
    originals = [compress(text) for text in texts for compress in COMPRESSORS.values()]
    read = 0
    for i in range(MUTATED_TRACES):
        data = originals[i % len(originals)]
        for _ in range(rng.integers(1, 3)):
            mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
            data = mutate(rng, data, int(rng.integers(max(len(data), 1)))) if data else data
        expected = expected_loads(data)
        try:
            trace = parse(data)
        except TraceError as error:
            assert expected is None, (data, str(error))
            assert str(error).startswith("some.txt: ") and "; expected " in str(error)
            assert len(str(error)) < 300
        else:
            assert list(zip(*(column.tolist() for column in trace))) == expected, data
            read += 1
    assert 0.1 < read / MUTATED_TRACES < 0.9  # else one of the two branches is hardly tested


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


@pytest.mark.parametrize(
    "damage", [b"\0ELF\1\2", b"\xfd7zXY\0abc", b"hello world\n", b"I  404de0,2"]
)
def test_what_is_no_known_format_is_refused_with_its_first_bytes(damage):
    message = message_of(damage)
    assert message == f"some.txt: beginning of the file: {repr(damage)[1:]}; expected ML-DPC text"


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
