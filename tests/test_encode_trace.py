"""From a file to shards: taken up after a kill, equal for any threads; foreign ones refused."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_shards
from small_shards import TOKENS, encoded

from packd_jax.config import ConfigError
from packd_jax.shards import encode_trace as module
from packd_jax.shards.encode_trace import encode_trace, trace_origin
from packd_jax.shards.index import INDEX
from packd_jax.shards.write_shard import write_shard
from packd_jax.traces.load_trace import TraceError

ROOT = Path(__file__).parent.parent
ROWS = 9000  # 9 records, 5 shards of 2


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "t.txt.gz"
    small_shards.write(path, ROWS)
    return path


def files(directory):
    """What is there, by name; the index without the place that the trace was read at."""
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    return {**found, INDEX: {**json.loads(found[INDEX]), "path": ""}}


def test_a_directory_holds_shards_an_index_and_nothing_else(trace_file, tmp_path):
    shares = []
    store = encoded(trace_file, TOKENS, tmp_path / "shards", progress=shares.append)
    names = sorted(path.name for path in store.directory.iterdir())
    shards = [f"shard-{number:05}.array_record" for number in range(5)]
    assert names == sorted([*shards, INDEX, "pcs.npy", "latest_instr_id.npy"])
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 5


def test_threads_change_nothing(trace_file, tmp_path):
    one = encoded(trace_file, small_shards.ALL, tmp_path / "one", threads=1)
    three = encoded(trace_file, small_shards.ALL, tmp_path / "three", threads=3)
    assert files(one.directory) == files(three.directory)


def test_shards_that_are_all_there_are_opened(trace_file, tmp_path, monkeypatch):
    first = encoded(trace_file, TOKENS, tmp_path)
    monkeypatch.setattr(module, "trace_chunks", None)  # would be called to encode
    assert encoded(trace_file, TOKENS, tmp_path).examples == first.examples


def test_an_error_in_the_middle_is_taken_up(trace_file, tmp_path, monkeypatch):
    whole = encoded(trace_file, small_shards.ALL, tmp_path / "whole")
    written = []

    def failing(directory, piece, *rest):
        if piece.shard == 3:
            raise OSError("no space left")
        return write_shard(directory, piece, *rest)

    def counting(directory, piece, *rest):
        written.append(piece.shard)
        return write_shard(directory, piece, *rest)

    monkeypatch.setattr(module, "write_shard", failing)
    with pytest.raises(OSError, match="no space"):
        encoded(trace_file, small_shards.ALL, tmp_path / "other", threads=1)
    left = sorted(path.name for path in (tmp_path / "other").iterdir())
    assert left[0] == INDEX and "shard-00002.array_record" in left and len(left) <= 5
    with pytest.raises(TraceError, match="facts: none yet"):
        module.ShardStore(tmp_path / "other")
    monkeypatch.setattr(module, "write_shard", counting)
    again = encoded(trace_file, small_shards.ALL, tmp_path / "other")
    assert 3 in written and not {0, 1, 2} & set(written)
    assert files(again.directory) == files(whole.directory)


def test_ctrl_c_leaves_no_half_a_shard(trace_file, tmp_path):
    def interrupt(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(trace_file, TOKENS, tmp_path / "shards", progress=interrupt)
    names = {path.name for path in (tmp_path / "shards").iterdir()}
    assert not any(name.startswith(".") for name in names)
    whole = encoded(trace_file, TOKENS, tmp_path / "whole")
    assert files(encoded(trace_file, TOKENS, tmp_path / "shards").directory) == files(
        whole.directory
    )


def test_a_shard_damaged_meanwhile_is_written_anew(trace_file, tmp_path):
    whole = files(encoded(trace_file, TOKENS, tmp_path).directory)
    index = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps({**index, "facts": None}))
    shard = tmp_path / "shard-00001.array_record"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert files(encoded(trace_file, TOKENS, tmp_path).directory) == whole


def test_a_killed_process_is_taken_up(tmp_path):
    path, home = tmp_path / "t.txt", tmp_path / "shards"
    small_shards.write(path, 200_000)
    code = (
        "import sys; sys.path.insert(0, 'tests'); import small_shards, pathlib\n"
        f"small_shards.encoded(pathlib.Path({str(path)!r}), small_shards.TOKENS,"
        f" pathlib.Path({str(home)!r}), threads=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while process.poll() is None and not (home / "shard-00004.array_record").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    # As one that the kill met while it was written, and one of a process that still runs.
    (home / f".{process.pid}.shard-00777.array_record").write_bytes(b"half")
    (home / f".{os.getpid()}.shard-00778.array_record").write_bytes(b"other")
    again = encoded(path, TOKENS, home)
    mine = home / f".{os.getpid()}.shard-00778.array_record"
    assert [p for p in home.iterdir() if p.name.startswith(".")] == [mine]
    mine.unlink()
    assert files(home) == files(encoded(path, TOKENS, tmp_path / "whole").directory)
    assert again.examples == 200_000 - 14


def test_shards_of_another_origin_are_refused(trace_file, tmp_path):
    encoded(trace_file, TOKENS, tmp_path / "shards")
    other = dataclasses.replace(TOKENS, horizon=10)
    with pytest.raises(ConfigError, match=r"another origin: features differ from those of .*t.txt"):
        encoded(trace_file, other, tmp_path / "shards")
    path = tmp_path / "t.txt"
    small_shards.write(path, 300)
    with pytest.raises(ConfigError, match="another origin: trace differ"):
        encoded(path, TOKENS, tmp_path / "shards")


def test_an_origin_has_a_name_of_its_own(trace_file, tmp_path):
    origin = trace_origin(trace_file, TOKENS)
    same = trace_origin(
        trace_file, dataclasses.replace(TOKENS, pc_vocabulary=9), sha256=origin.sha256
    )
    assert same == origin and len(origin.key) == 16
    copy = tmp_path / "copy.gz"
    copy.write_bytes(trace_file.read_bytes())
    assert trace_origin(copy, TOKENS).key == origin.key
    copy.write_bytes(trace_file.read_bytes() + b"\0")
    others = [
        trace_origin(copy, TOKENS),
        trace_origin(trace_file, dataclasses.replace(TOKENS, look_back=6)),
        trace_origin(trace_file, TOKENS, shard_records=3),
    ]
    assert len({origin.key, *(other.key for other in others)}) == 4
    with pytest.raises(TraceError, match="cannot be opened"):
        trace_origin(tmp_path / "none", TOKENS)


def test_a_trace_too_short_for_an_example_has_none(tmp_path):
    small_shards.write(tmp_path / "t.txt", 12)
    store = encode_trace(trace_origin(tmp_path / "t.txt", TOKENS), tmp_path / "shards")
    assert (store.examples, store.records, store.facts.rows) == (0, 0, 12)
    assert store.window_rows(0, 10**9, "instructions") == slice(0, 12)


def test_a_trace_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "t.txt").write_text("1, 2, 3\n")
    with pytest.raises(TraceError, match="line 1: 3 column"):
        encoded(tmp_path / "t.txt", TOKENS)


def test_where_nothing_can_be_written_is_named(trace_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"shards cannot be kept there \(.*stream\.directory"):
        encoded(trace_file, TOKENS, tmp_path / "file" / "shards")

    class Full:
        def __init__(self, path, options):
            pass

        def write(self, record):
            raise RuntimeError("write() failed:\nNo space left on device")

        def close(self):
            pass

    monkeypatch.setattr("packd_jax.shards.write_shard.ArrayRecordWriter", Full)
    with pytest.raises(TraceError, match=r"cannot be written \(write.. failed: No space left"):
        encoded(trace_file, TOKENS, tmp_path / "shards")
    assert [path.name for path in (tmp_path / "shards").iterdir()] == [INDEX]
