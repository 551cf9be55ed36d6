"""Damage to trace files, and the check that every reader either refuses it or reads it right.

A few hundred mutations a format by default; all of them: PACKD_MUTATIONS=10000 pytest -k mutated
"""

import contextlib
import gzip
import io
import lzma
import os
import tracemalloc
import zlib
from functools import partial

import numpy as np

from packd_jax.traces.byte_source import XZ_MEMORY_BYTES
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.read_trace import read_trace_file

COMPRESSORS = {
    "file": bytes,
    "gzip data": partial(gzip.compress, compresslevel=1),
    "xz data": partial(lzma.compress, preset=0),
}
MUTATED_TRACES = int(os.environ.get("PACKD_MUTATIONS", "400"))


def decompressed(data):
    """The contents of a file, or None where its compression is damaged."""
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            contents = b""
            while data:
                stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY_BYTES)
                contents += stream.decompress(data)
                if not stream.eof:
                    return None
                data = stream.unused_data.lstrip(b"\0")
            return contents
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                return stream.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None
    return data


def buffered(data):
    return io.BufferedReader(io.BytesIO(data))


def flip(rng, data, at, pieces):
    return data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :]


def truncate(rng, data, at, pieces):
    return data[:at]


def delete(rng, data, at, pieces):
    return data[:at] + data[at + rng.integers(1, 9) :]


def insert(rng, data, at, pieces):
    pieces = [*pieces, b"\n", b"\0", b"\0" * 64, b"\xff" * 9, b"9" * 25, b"x" * 5000, rng.bytes(6)]
    return data[:at] + pieces[rng.integers(len(pieces))] + data[at:]


def duplicate(rng, data, at, pieces):
    stop = at + rng.integers(1, 200)
    return data[:stop] + data[at:stop] + data[stop:]


def repeat_all(rng, data, at, pieces):
    return data + data[-at:]


def shuffle_lines(rng, data, at, pieces):
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


MUTATIONS = [flip, truncate, delete, insert, duplicate, repeat_all, shuffle_lines]


def mutated(rng, data, pieces):
    for _ in range(rng.integers(1, 3)):
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        data = mutate(rng, data, int(rng.integers(len(data))), pieces) if data else data
    return data


def check_mutations(seed, contents, read, expected, pieces=(), count=MUTATED_TRACES):
    """Mutates files with `contents`, before or after compression, and lets `read(data)` read them.

    It must return what `expected` makes of the contents independently, or raise TraceError
    where that is None. `pieces` are inserted among others.
    """
    rng = np.random.default_rng(seed)
    compressors = list(COMPRESSORS.values())
    accepted = 0
    for i in range(count):
        data, compress = contents[i % len(contents)], compressors[rng.integers(3)]
        before = rng.random() < 0.5
        data = (
            compress(mutated(rng, data, pieces)) if before else mutated(rng, compress(data), pieces)
        )
        inside = decompressed(data)
        wanted = None if inside is None else expected(inside)
        try:
            found = read(data)
        except TraceError as error:
            assert wanted is None, (data, str(error))
            assert str(error).startswith("some.txt: ") and "; expected " in str(error)
            assert len(str(error)) < 400
        else:
            assert found == wanted, (data, found, wanted)
            accepted += 1
        with contextlib.suppress(TraceError):  # whatever it is taken for
            read_trace_file(buffered(data), "some.txt")
    assert 0.05 < accepted / count < 0.95  # else one of the two branches is hardly tested


def check_bounded(read, member, times, peak_bytes, head=b""):
    """Reads `head` and `member` so many times, compressed, in no more than `peak_bytes`."""
    data = gzip.compress(head) + gzip.compress(member) * times
    assert times * len(member) > 1.5 * peak_bytes  # else nothing is shown
    tracemalloc.start()
    read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < peak_bytes, peak
