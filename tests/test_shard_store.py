"""Windows and PCs of a trace from its shards alone; damage is named with its file."""

import json

import numpy as np
import pytest
import small_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.shards.index import INDEX
from packd_jax.shards.store import ShardStore
from packd_jax.traces.load_trace import TraceError, window_rows

ROWS = 5000
TRACE = small_shards.trace(ROWS)
LAST = int(TRACE.instr_id.max())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "t.txt"
    small_shards.write(path, ROWS)
    return small_shards.encoded(path, small_shards.TOKENS)


@pytest.fixture
def damaged(store, tmp_path):
    """A copy of the shards to damage."""
    for path in store.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_what_is_encoded(store):
    assert (store.first, store.examples, store.records) == (5, ROWS - 14, 5)
    assert store.facts.rows == ROWS
    records = list(store.read(range(5)))
    assert [record.rows for record in records] == [1024] * 4 + [ROWS - 14 - 4096]
    again = list(store.read([4, 0, 3, 3]))
    for record, number in zip(again, [4, 0, 3, 3]):
        np.testing.assert_array_equal(record.columns["labels"], records[number].columns["labels"])


@settings(max_examples=60)
@given(st.integers(0, LAST + 50), st.integers(0, LAST + 50))
def test_windows_in_instructions(store, start, stop):
    start, stop = sorted((start, stop))
    expected = window_rows(TRACE, start, stop, "instructions")
    assert store.window_rows(start, stop, "instructions") == expected


@pytest.mark.parametrize("edge", [0, 1, 30, LAST - 70, LAST, LAST + 1])
@pytest.mark.parametrize("unit", ["instructions", "rows", "percent"])
def test_windows_at_the_ends(store, edge, unit):
    for start, stop in ((0, edge), (edge, 10**9)):
        if unit != "percent" or edge <= 100:
            stop = min(stop, 100) if unit == "percent" else stop
            expected = window_rows(TRACE, start, stop, unit)
            assert store.window_rows(start, stop, unit) == expected


@settings(max_examples=40)
@given(st.integers(0, ROWS - 9), st.integers(0, ROWS - 9))
def test_pc_counts(store, start, stop):
    start, stop = sorted((start, stop))
    values, counts = np.unique(TRACE.pc[start:stop], return_counts=True)
    found = store.pc_counts(slice(start, stop))
    assert dict(zip(values.tolist(), counts.tolist())) == {
        pc: count for pc, count in zip(store.facts.pcs.tolist(), found.tolist()) if count
    }


def test_pcs_behind_the_last_example_are_not_kept(store):
    with pytest.raises(ValueError, match=f"rows to {ROWS}: expected at most {ROWS - 9}"):
        store.pc_counts(slice(0, ROWS))


def read_all(directory):
    store = ShardStore(directory)
    return [record.columns["labels"].copy() for record in store.read(range(store.records))]


@pytest.mark.parametrize("cut", [0, 10, 4096, -100])
def test_a_truncated_shard_is_named(damaged, cut):
    path = damaged / "shard-00001.array_record"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TraceError, match="records 0 to 1: cannot be read") as caught:
        read_all(damaged)
    assert caught.value.path == str(path)
    assert "remove the directory, and encode the trace again" in str(caught.value)


def test_a_missing_shard_is_named(damaged):
    (damaged / "shard-00002.array_record").unlink()
    with pytest.raises(TraceError, match=r"shard-00002\.array_record: records 0 to 0: cannot"):
        read_all(damaged)


def test_a_shard_in_the_place_of_another_is_named(damaged):
    (damaged / "shard-00000.array_record").replace(damaged / "shard-00001.array_record")
    with pytest.raises(TraceError, match="record 0 of 1024 rows; expected record 2"):
        list(ShardStore(damaged).read([2]))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_never_taken_for_rows(store, tmp_path_factory, data):
    """Either it is named, or it was of no consequence."""
    folder = tmp_path_factory.mktemp("changed")
    for path in store.directory.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / "shard-00000.array_record"
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = read_all(folder)
    except TraceError as error:
        assert error.path == str(path)
    else:
        for a, b in zip(found, read_all(store.directory)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: "{", "index: damaged"),
        (lambda index: json.dumps({**index, "format": 9}), "format: 9; expected 1"),
        (lambda index: json.dumps({**index, "facts": None}), "facts: none yet; expected all sh"),
        (lambda index: json.dumps({**index, "columns": []}), "the columns are not those"),
        (lambda index: json.dumps({k: index[k] for k in index if k != "trace"}), "'trace'"),
    ],
)
def test_an_index_that_cannot_be_used_is_named(damaged, change, message):
    path = damaged / INDEX
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(TraceError, match=message):
        ShardStore(damaged)


@pytest.mark.parametrize("name", [INDEX, "pcs.npy"])
def test_a_missing_index_is_named(damaged, name):
    (damaged / name).unlink()
    with pytest.raises(TraceError, match=r"index\.json: "):
        ShardStore(damaged)
