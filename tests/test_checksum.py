"""Checksums of pieces: the same as of the whole, however an array is sharded."""

import zlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax import checksum as module
from packd_jax.checksum import checksum
from packd_jax.device_mesh import DATA, make_mesh, place, sharding
from packd_jax.named_leaves import LeafError


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_crc_32_of_two_pieces_follows_from_theirs(first, second):
    after = module._after_zeros
    length = len(second)
    value = after(zlib.crc32(first), length) ^ after(0, length) ^ zlib.crc32(second)
    assert value == zlib.crc32(first + second)


def test_arrays_are_summed_end_to_end():
    arrays = {"a": np.arange(5, dtype=np.int16), "b": np.float32(3).reshape(1)}
    assert checksum(arrays) == zlib.crc32(arrays["a"].tobytes() + arrays["b"].tobytes())
    assert checksum(arrays) != checksum({"b": arrays["b"], "a": arrays["a"]})


@pytest.mark.parametrize("axes", [(DATA,), ()])
def test_shards_of_several_processes_are_put_together(monkeypatch, axes):
    # The devices of this process, as if the array were on those of others, too.
    monkeypatch.setattr(module, "is_global", lambda array: isinstance(array, jax.Array))
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    sharded = place(values, sharding(make_mesh(1, 16), *axes))
    before, after = np.arange(3), np.ones(2)
    expected = checksum({"x": before, "y": values, "z": after})
    assert checksum({"x": before, "y": sharded, "z": after}) == expected
    assert checksum({"x": before, "y": sharded + 1, "z": after}) != expected


def test_other_shards_are_refused(monkeypatch):
    monkeypatch.setattr(module, "is_global", lambda array: True)
    sharded = place(np.ones((3, 4), np.float32), sharding(make_mesh(1, 16), None, DATA))
    with pytest.raises(LeafError, match=r"leaf y \(3, 4\) is sharded as .* first axis alone"):
        checksum({"y": sharded})
