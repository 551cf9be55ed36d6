"""Soft targets: what fixed teachers say about fixed rows, computed once and kept compactly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax import ensemble, processes
from packd_jax.example_source import ExampleSource

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
    examples: ExampleSource,
    cluster: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    temperature: float = 1.0,
    dtype: str = "float16",
    train_mode: bool = False,
    progress: Callable[..., None] | None = None,
) -> np.ndarray:
    """Routed soft targets of N rows in a `.npy` file: float16 or uint8 [N, D], memory-mapped.

    The rows are all of the examples, or `rows` of them, which are read piece by piece. Each is
    answered by the teacher of its own cluster (`cluster` u8[N]), in evaluation
    mode unless `train_mode`. The file grows under a temporary name and is renamed when it is
    whole; an interrupted call goes on behind the last committed chunk.
    """
    path = Path(path)
    is_whole = path.exists()
    processes.wait(f"looking for {path}")
    if not is_whole:
        ask = _Teachers(model, variables, examples, cluster, rows, train_mode)
        _write(path, ask, len(cluster), temperature, dtype, progress)
    return np.load(path, mmap_mode="r")


class _Teachers(NamedTuple):
    """Teachers, and the rows that they are asked about."""

    model: Any
    variables: Any
    examples: ExampleSource
    cluster: np.ndarray
    rows: np.ndarray | None
    train_mode: bool

    def logits(self, part: slice) -> np.ndarray:
        """What they say about a part of the rows, f32[n, D]."""
        inputs = self.examples.take(part if self.rows is None else self.rows[part]).inputs
        return ensemble.route(
            self.model, self.variables, inputs, self.cluster[part], self.train_mode
        )


def _write(
    path: Path,
    ask: _Teachers,
    total: int,
    temperature: float,
    dtype: str,
    progress: Callable[..., None] | None,
) -> None:
    partial, marker = path.with_suffix(".partial"), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    done, target = 0, None
    if partial.exists() and marker.exists():
        done = json.loads(marker.read_text())["rows"]
        target = np.lib.format.open_memmap(partial, mode="r+")
    processes.wait(f"soft targets {path} so far")
    if target is None and processes.is_first():
        marker.unlink(missing_ok=True)  # of a file that was finished and then removed
    while done < total:
        rows = slice(done, min(done + CHUNK * processes.count(), total))
        values = _answers(ask, rows, temperature, dtype)
        done = rows.stop
        if processes.is_first():
            if target is None:
                shape = (total, values.shape[1])
                target = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
            target[rows] = values
            target.flush()
            # The marker is renamed into place: it never speaks of rows that are not there.
            staged = marker.with_suffix(".json.tmp")
            staged.write_text(json.dumps({"rows": done}))
            os.replace(staged, marker)
        if progress is not None:
            progress(done)
    if processes.is_first():
        os.replace(partial, path)
        marker.unlink(missing_ok=True)
    processes.wait(f"soft targets {path}")


def _answers(ask: _Teachers, rows: slice, temperature: float, dtype: str) -> np.ndarray:
    """Soft targets of the rows, [n, D]; each process asks about a part of them."""
    total = rows.stop - rows.start
    size = -(-total // processes.count())  # equal parts: the last ones may reach back
    first = min(processes.share(size * processes.count()).start, total - size)
    own = slice(rows.start + first, rows.start + first + size)
    parts = processes.gather(encode_soft(ask.logits(own), temperature, dtype))
    starts = [min(part * size, total - size) for part in range(len(parts))]
    values = np.empty((total, parts.shape[2]), parts.dtype)
    for start, part in zip(starts, parts):
        values[start : start + size] = part
    return values
