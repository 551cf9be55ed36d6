"""Named arrays come back as they were, from whatever devices; a damaged directory does not."""

import json

import numpy as np
import pytest

from packd_jax.array_files import RECORD_FILE, described_arrays, read_arrays, write_arrays
from packd_jax.device_mesh import DATA, make_mesh, place, sharding

ARRAYS = {"a/b": np.arange(6, dtype=np.int16).reshape(2, 3), "c": np.float32([1.5, np.nan])}


def test_arrays_and_the_record_beside_them_come_back(tmp_path):
    write_arrays(tmp_path / "x", ARRAYS, {"about": [1, "two"]})
    found = read_arrays(tmp_path / "x", list(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert type(found[name]) is np.ndarray and found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    record = json.loads((tmp_path / "x" / RECORD_FILE).read_text())
    assert record["custom_metadata"] == {"about": [1, "two"]}
    assert {name: tuple(one.shape) for name, one in described_arrays(tmp_path / "x").items()} == {
        "a/b": (2, 3),
        "c": (2,),
    }


def test_shards_come_back_as_one_array_on_the_host(tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    write_arrays(tmp_path / "x", {"y": place(values, sharding(make_mesh(1, 16), DATA))}, {})
    found = read_arrays(tmp_path / "x", ["y"])["y"]
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, values)


def test_what_is_not_there_is_not_read(tmp_path):
    with pytest.raises(Exception, match="x"):
        read_arrays(tmp_path / "x", ["y"])
