"""What physics makes of a configuration: its work and traffic, and the load that it runs beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from latency_jax.modules import get_kind

LOADS = ("cpu_utilization", "memory_pressure")
_FEATURES = ("FLOPs", "input bytes", "weight bytes", "output bytes", "bytes", "FLOPs per byte")


def amounts(kind: str, columns: Mapping[str, Any], rows: int) -> np.ndarray:
    """f64[7, N]: FLOPs, bytes of inputs, of weights and of outputs, CPU work, and LOADS, which are
    0 where no column says them.

    CPU work is in FLOPs of a large matrix product, see `ModuleKind`.
    """
    if rows == 1:  # scalars are several times as fast as arrays of one number
        columns = {
            name: column[0] if column.dtype.kind == "U" else np.float64(column.item())
            for name, column in columns.items()
        }
    found = [*get_kind(kind).amounts(columns), *(columns.get(name, 0.0) for name in LOADS)]
    if rows == 1:
        return np.array(found)[:, None]
    filled = np.empty((len(found), rows))
    for row, amount in zip(filled, found):
        row[:] = amount
    return filled


def feature_names(kind: str) -> list[str]:
    """What `features` and `features_of_one` give, in their order: P names."""
    names = [*_FEATURES, "CPU work"] if _has_work(kind) else _FEATURES
    return [f"log({name})" for name in names]


def features(kind: str, known: np.ndarray) -> np.ndarray:
    """f64[P, N] of `amounts`: log1p of each, of all bytes, log FLOPs per byte."""
    found = np.empty((6 + _has_work(kind), known.shape[1]))
    found[:4] = known[:4]
    known[1:4].sum(axis=0, out=found[4])
    np.log1p(found[:5], out=found[:5])
    found[5] = found[0] - found[4]
    if len(found) == 7:
        np.log1p(known[4], out=found[6])
    return found


def features_of_one(kind: str, known: np.ndarray) -> list[float]:
    """The same of one row, f64[7]: plain numbers take half as long as arrays of one."""
    flops, *moved, work = known[:5].tolist()
    found = [math.log1p(amount) for amount in (flops, *moved, sum(moved))]
    found.append(math.log1p(flops) - found[-1])
    return [*found, math.log1p(work)] if _has_work(kind) else found


def _has_work(kind: str) -> bool:
    return get_kind(kind).work is not None
