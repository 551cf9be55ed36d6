"""Traces are held up to so many rows, all together; of longer ones no more is read."""

import hashlib

import numpy as np
import pytest
import small_shards
from small_shards import TOKENS

from packd_jax import sources as module
from packd_jax.config import StreamConfig, TraceConfig, WorkloadConfig
from packd_jax.sources import LongSource, Source, load_sources, open_sources
from packd_jax.traces.load_trace import TraceError

ROWS = (3000, 2000)


@pytest.fixture
def traces(tmp_path):
    paths = tuple(str(tmp_path / f"{number}.txt.gz") for number in range(2))
    for number, (path, rows) in enumerate(zip(paths, ROWS)):
        small_shards.write(path, rows, number)
    return TraceConfig(paths=paths)


def opened(config, tmp_path, rows, **options):
    return open_sources(config, StreamConfig(in_memory_rows=rows, **options), tmp_path)


def test_traces_that_fit_are_held(traces, tmp_path):
    found, loaded = opened(traces, tmp_path, 5000), load_sources(traces, tmp_path)
    for one, same in zip(found, loaded):
        assert isinstance(one, Source) and (one.path, one.sha256) == (same.path, same.sha256)
        assert one.rows == one.trace.rows == same.rows
        for a, b in zip(one.trace, same.trace):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [4999, 3000, 2999, 1000, 0])
def test_traces_that_do_not_fit_together_are_long(traces, tmp_path, rows):
    found = opened(traces, tmp_path, rows)
    assert [type(one) for one in found] == [LongSource, LongSource]
    for one, path in zip(found, traces.paths):
        with open(path, "rb") as file:
            assert one.sha256 == hashlib.file_digest(file, "sha256").hexdigest()
        assert one.path == path and one.shards == tmp_path / "shards"


def test_shards_are_made_where_it_is_asked_for(traces, tmp_path):
    first, _ = opened(traces, tmp_path, 0, directory=str(tmp_path / "there"), threads=1)
    store = first.store(TOKENS)
    assert store.directory.parent == tmp_path / "there" and store.facts.rows == 3000
    other = first.store(small_shards.SEGMENTS)
    assert other.directory.parent == store.directory.parent != other.directory
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == sorted(
        [store.directory.name, other.directory.name]
    )


def test_rows_of_traces_in_shards_are_known(traces, tmp_path, monkeypatch):
    for one in opened(traces, tmp_path, 100):
        one.store(TOKENS)
    (tmp_path / "shards" / "damaged").mkdir()
    (tmp_path / "shards" / "damaged" / "index.json").write_text("[")
    monkeypatch.setattr(module, "trace_chunks", None)  # not even begun to be read
    assert tuple(one.rows for one in opened(traces, tmp_path, 100)) == ROWS


def test_a_workload_may_be_long(tmp_path):
    config = TraceConfig(workload=WorkloadConfig(scale=10, instructions=200_000))
    (held,) = opened(config, tmp_path, 10**6)
    (long,) = opened(config, tmp_path, 10)
    assert isinstance(long, LongSource) and held.rows > 10
    assert long.store(TOKENS).facts.rows == long.rows == held.rows
    assert long.sha256 == held.sha256


def test_a_file_that_is_no_trace_is_named(tmp_path):
    with pytest.raises(TraceError, match="cannot be opened"):
        opened(TraceConfig(paths=("none",)), tmp_path, 10)
    (tmp_path / "bad.txt").write_text("1, 2\n")
    with pytest.raises(TraceError, match="line 1: 2 column"):
        opened(TraceConfig(paths=(str(tmp_path / "bad.txt"),)), tmp_path, 10)
