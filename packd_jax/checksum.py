"""One CRC-32 over arrays that lie in this process, or in pieces in several.

CRC-32 is affine in what it has seen so far, so pieces can be summed up where they are and put
together by their lengths: the sum does not depend on the devices that an array lies on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from packd_jax import processes
from packd_jax.named_leaves import LeafError, is_global

_ZEROS = bytes(1 << 20)


def checksum(arrays: Mapping[str, Any]) -> int:
    """CRC-32 of the bytes of all arrays, end to end in their order.

    Global arrays may be sharded along their first axis: LeafError for any other way. All
    processes must ask together, and get the same.
    """
    parts = {path: _parts(path, array) for path, array in arrays.items() if is_global(array)}
    if parts:
        # Each process knows its own pieces, and zeros of the others.
        everywhere = processes.gather(np.stack(list(parts.values()))).sum(axis=0)
        parts = dict(zip(parts, everywhere))
    value = 0
    for path, array in arrays.items():
        if path not in parts:
            value = zlib.crc32(_bytes(array), value)
            continue
        pieces = parts[path]
        for _, length, own in pieces[np.argsort(pieces[:, 0], kind="stable")].tolist():
            value = _after_zeros(value, length) ^ _after_zeros(0, length) ^ own if length else value
    return value


def _parts(path: str, array: jax.Array) -> np.ndarray:
    """(first byte, bytes, CRC-32) of each piece, i64[devices, 3]; zeros of what is elsewhere."""
    devices = sorted(array.sharding.device_set, key=_number)
    places = {device: place for place, device in enumerate(devices)}
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    found = np.zeros((len(places), 3), np.int64)
    for shard in array.addressable_shards:
        if shard.data.shape[1:] != array.shape[1:]:
            raise LeafError(
                f"leaf {path} {array.shape} is sharded as {array.sharding}: expected shards along"
                " the first axis alone"
            )
        if shard.replica_id == 0:
            piece = _bytes(shard.data)
            first = (shard.index[0].start or 0) * row_bytes if shard.index else 0
            found[places[shard.device]] = first, len(piece), zlib.crc32(piece)
    return found


def _after_zeros(value: int, length: int) -> int:
    while length > 0:
        value = zlib.crc32(memoryview(_ZEROS)[:length], value)
        length -= len(_ZEROS)
    return value


def _bytes(array: Any) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _number(device: Any) -> int:
    number: int = device.id
    return number
