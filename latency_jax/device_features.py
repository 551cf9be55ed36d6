"""What a configuration is to a device: how long its peak rates would take, and how it fits in.

These transfer: a device of twice the rates is asked about half the seconds, not about numbers
that no other device had. Rates at best are those of `latency_jax.devices`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_jax.devices import BYTES, CACHE, CORES, FLOPS

_LEAST = 1e-12  # s; keeps logarithms finite where a call has no FLOPs
_TILE = 128 * 128  # outputs that one core computes at a time, as in most matrix product kernels
_ITEM_BYTES = 4
NAMES = (
    "log(s of FLOPs)",
    "log(s of bytes)",
    "log(s of FLOPs / s of bytes)",
    "log(bytes / cache)",
    "log(weight bytes / cache)",
    "log(output tiles / cores)",
    "filled tiles",
)


def at_peak(amounts: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """`physics.amounts` f64[7, N] with FLOPs, CPU work and bytes as seconds at a device's peak."""
    seconds = amounts.copy()
    seconds[[0, 4]] /= columns[FLOPS]
    seconds[1:4] /= columns[BYTES]
    return seconds


def features(amounts: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """f64[7, N] of NAMES, from `physics.amounts` f64[7, N] and the columns of a device."""
    moved = amounts[1:4].sum(axis=0)
    flops_s = np.log(amounts[0] / columns[FLOPS] + _LEAST)
    bytes_s = np.log(moved / columns[BYTES] + _LEAST)
    tiles = amounts[3] / (_ITEM_BYTES * _TILE) / columns[CORES]
    return np.stack(
        [
            flops_s,
            bytes_s,
            flops_s - bytes_s,
            np.log((moved + 1) / columns[CACHE]),
            np.log((amounts[2] + 1) / columns[CACHE]),
            np.log(tiles + 1e-9),
            tiles / np.maximum(np.ceil(tiles), 1),
        ]
    )
