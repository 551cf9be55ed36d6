"""Soft targets: what fixed teachers say about fixed rows, computed once and kept compactly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax import ensemble

CHUNK = 16_384  # rows between two commits of the file


def encode_soft(logits: np.ndarray, temperature: float, dtype: str) -> np.ndarray:
    """Softened probabilities sigmoid(logits / T) as stored: float16, or uint8 in 255ths.

    The error is at most 2**-11 of the value for float16 (2**-25 below 2**-14), and 1/510 for
    uint8.
    """
    probability = 1 / (1 + np.exp(-np.clip(logits / temperature, -30, 30)))
    if dtype == "uint8":
        return np.round(probability * 255).astype(np.uint8)
    return probability.astype(np.float16)


def write_soft_targets(
    path: str | os.PathLike,
    model: Any,
    variables: Any,
    inputs: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    *,
    temperature: float = 1.0,
    dtype: str = "float16",
    train_mode: bool = False,
    progress: Callable[..., None] | None = None,
) -> np.ndarray:
    """Routed soft targets of all N rows in a `.npy` file: float16 or uint8 [N, D], memory-mapped.

    Each row is answered by the teacher of its own cluster (`cluster` u8[N]), in evaluation
    mode unless `train_mode`. The file grows under a temporary name and is renamed when it is
    whole; an interrupted call goes on behind the last committed chunk.
    """
    path = Path(path)
    if not path.exists():
        _write(path, model, variables, inputs, cluster, temperature, dtype, train_mode, progress)
    return np.load(path, mmap_mode="r")


def _write(
    path: Path,
    model: Any,
    variables: Any,
    inputs: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    temperature: float,
    dtype: str,
    train_mode: bool,
    progress: Callable[..., None] | None,
) -> None:
    partial, marker = path.with_suffix(".partial"), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    total, done, target = len(cluster), 0, None
    if partial.exists() and marker.exists():
        done = json.loads(marker.read_text())["rows"]
        target = np.lib.format.open_memmap(partial, mode="r+")
    else:
        marker.unlink(missing_ok=True)  # of a file that was finished and then removed
    while done < total:
        rows = slice(done, min(done + CHUNK, total))
        part = {name: values[rows] for name, values in inputs.items()}
        logits = ensemble.route(model, variables, part, cluster[rows], train_mode)
        if target is None:
            shape = (total, logits.shape[1])
            target = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        target[rows] = encode_soft(logits, temperature, dtype)
        target.flush()
        done = rows.stop
        # The marker is renamed into place: it never speaks of rows that are not there.
        staged = marker.with_suffix(".json.tmp")
        staged.write_text(json.dumps({"rows": done}))
        os.replace(staged, marker)
        if progress is not None:
            progress(done)
    os.replace(partial, path)
    marker.unlink(missing_ok=True)
