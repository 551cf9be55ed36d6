"""Contents of files, plain and compressed: recognised, joined, bounded, or refused."""

import gzip
import lzma
import struct
import tracemalloc
import zlib

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from trace_mutations import COMPRESSORS, buffered

from packd_jax.traces.byte_source import CHUNK_BYTES, byte_chunks, open_trace
from packd_jax.traces.load_trace import TraceError

CONTENTS = st.lists(st.binary(max_size=300), max_size=4)


def read(data):
    return b"".join(byte_chunks(buffered(data), "some.bin"))


def message_of(data):
    with pytest.raises(TraceError) as caught:
        read(data)
    return str(caught.value)


@settings(max_examples=50)
@given(CONTENTS, st.sampled_from(list(COMPRESSORS)))
def test_compressed_parts_are_read_as_one(parts, kind):
    data = b"".join(map(COMPRESSORS[kind], parts))
    if kind != "file" or not data.startswith((b"\x1f\x8b", b"\xfd7zXZ\0")):
        assert read(data) == b"".join(parts)


def test_padding_after_and_between_streams_is_no_data():
    for compress in (gzip.compress, lzma.compress):
        assert read(compress(b"one") + bytes(8) + compress(b"two") + bytes(4)) == b"onetwo"


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("rest", [b"garbage", b"\xfd7zXZ\0\0", b"\x1f\x8b\x08\xff"])
def test_anything_else_after_a_stream_is_damage(compress, rest):
    message = message_of(compress(b"a\nb\n") + rest)
    assert message.startswith(("some.bin: after line 2: damaged ", "some.bin: after line 2: trunc"))


def test_a_second_stream_that_is_damaged_is_not_the_end():
    """Where lzma.LZMAFile stops as if all were well."""
    second = bytearray(lzma.compress(b"two"))
    second[6] ^= 1  # in the flags of its header
    assert "damaged xz data" in message_of(lzma.compress(b"one") + bytes(second))


@pytest.mark.parametrize("kind", ["gzip data", "xz data"])
@pytest.mark.parametrize("line, where", [(b"a line\n", "line"), (b"\0seven\n", "byte")])
def test_damage_is_placed_by_lines_in_text_and_by_bytes_elsewhere(kind, line, where):
    data = COMPRESSORS[kind](line * 3) + COMPRESSORS[kind](line * 300)[:-9]
    number = 3 if where == "line" else 21
    assert message_of(data).startswith(f"some.bin: after {where} ")
    assert int(message_of(data).split(f"after {where} ")[1].split(":")[0]) >= number
    assert message_of(data).endswith(
        f"truncated {kind}; expected the rest of it; copy the file again"
    )


def test_a_header_that_asks_for_too_much_memory_is_refused():
    """A dictionary of 4 GiB in the header of an xz block, which is otherwise intact."""
    data = bytearray(lzma.compress(b"x" * 100, preset=0))
    filters = data.index(b"\x21\x01", 12)  # LZMA2, one byte of properties
    data[filters + 2] = 40
    block = data[12 : 12 + 4 * (data[12] + 1)]
    block[-4:] = struct.pack("<I", zlib.crc32(block[:-4]))
    data[12 : 12 + len(block)] = block
    assert "damaged xz data (Memory usage limit exceeded)" in message_of(bytes(data))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_what_expands_a_thousandfold_is_held_piece_by_piece(compress):
    data = compress(bytes(10 * CHUNK_BYTES)) * 5
    tracemalloc.start()
    sizes = [len(chunk) for chunk in byte_chunks(buffered(data), "some.bin")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 50 * CHUNK_BYTES and max(sizes) <= CHUNK_BYTES
    assert peak < 14 * CHUNK_BYTES  # eight of them are the dictionary of xz


@pytest.mark.parametrize("name", ["absent", "", "a\0b"])
def test_a_file_that_cannot_be_opened_is_an_error(name, tmp_path):
    with pytest.raises(TraceError, match="file: cannot be opened"):
        open_trace(f"{tmp_path}/{name}")
