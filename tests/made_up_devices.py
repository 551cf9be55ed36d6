"""Devices that differ as GPUs do, and dense layers on them, for tests of what transfers."""

from __future__ import annotations

import numpy as np

from latency_jax.devices import Device
from latency_jax.table import Table, make_table

DEVICES = {
    device.name: device
    for device in (
        Device("slow", 2e12, 1e11, 2e6, 10, 1.1e9, 8e9),
        Device("middle", 5e12, 4e11, 4e6, 20, 1.3e9, 16e9),
        Device("fast", 1e13, 9e11, 8e6, 40, 1.5e9, 32e9),
        Device("new", 7e12, 3e11, 4e6, 30, 1.6e9, 16e9),
    )
}
_REACHED = {"slow": (0.6, 0.8), "middle": (0.5, 0.7), "fast": (0.7, 0.6), "new": (0.35, 0.75)}
OVERHEAD_S = 4e-6


def layers(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "batch_size": np.exp(rng.uniform(2, 8, rows)).astype(np.int64) + 1,
        "in_features": np.exp(rng.uniform(5, 8, rows)).astype(np.int64),
        "out_features": np.exp(rng.uniform(5, 8, rows)).astype(np.int64),
    }


def measured(name: str, rows: int, seed: int, noise: float = 0.03) -> Table:
    """Layers on a device: of what it could do it reaches a share, with a bump that all share."""
    columns, device = layers(rows, seed), DEVICES[name]
    table = make_table("dense", columns, np.ones(rows))
    of_flops, of_bytes = _REACHED[name]
    flops, moved = table.amounts[0], table.amounts[1:4].sum(axis=0)
    at_best = np.maximum(
        flops / (of_flops * device.flops_per_s), moved / (of_bytes * device.bytes_per_s)
    )
    bump = 1 + 0.6 * (columns["out_features"] % 64 < 32)
    quirk = np.exp(noise * np.random.default_rng(seed + 1000).standard_normal(rows))
    return make_table("dense", columns, (OVERHEAD_S + at_best * bump) * quirk)
