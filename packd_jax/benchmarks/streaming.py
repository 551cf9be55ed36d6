"""Traces larger than memory: encoding them to shards, and reading these for training."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from packd_jax.batching import RowOrder
from packd_jax.benchmarks.encode_shards import write_synthetic
from packd_jax.benchmarks.scales import SEGMENTS, TOKENS, Scale, accesses, examples
from packd_jax.benchmarks.stacks import plain_runs
from packd_jax.benchmarks.timing import Line, compare, make_line, take_turns
from packd_jax.benchmarks.training import our_steps
from packd_jax.features import learn_pc_vocabulary
from packd_jax.models import InputSpec, build_model
from packd_jax.shards.encode_trace import encode_trace, trace_origin
from packd_jax.shards.examples import Part, ShardedExamples
from packd_jax.shards.loader import windows
from packd_jax.traces.mldpc import write_trace

_LANES, _WINDOW_ROWS = 8, 1 << 16


def encode_shards(scale: Scale, repeats: int) -> Iterator[Line]:
    """Encoding a text trace end to end, two lengths of it: costs of a row should be equal.

    "rows/cpu s" counts the time of all cores: rows a second of one core.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.txt"
        for rows in (scale.trace_rows, scale.memory_rows):
            write_synthetic(path, rows)
            for features in (TOKENS, SEGMENTS):
                ran = [_encode(path, features.encoding) for _ in range(repeats)]
                seconds, cores, peaks = np.array(ran).T
                name = f"encode_shards {features.encoding}, {rows:,} rows"
                yield make_line(name, "rows/s", rows / seconds)
                yield make_line(name, "rows/cpu s", rows / cores)
                yield make_line(name, "GB", peaks / 1e9)


def loader(scale: Scale, repeats: int) -> Iterator[Line]:
    """Windows of one lane through Grain, in turn with the training that eats them.

    With one thread, as each lane has in training, and with two, as lanes read side by side.
    """
    with tempfile.TemporaryDirectory() as folder:
        sharded = _sharded(scale, Path(folder))
        order = RowOrder(range(sharded.rows), 0, lanes=_LANES, shuffle_rows=_WINDOW_ROWS * _LANES)
        count = max(1, sharded.rows // (2 * order.window_rows))
        steps = max(1, count * order.window_rows // scale.batch_size)
        features, config = scale.students["tokens token_mlp"]
        model = build_model(config, InputSpec.of(features))
        student = our_steps(model, examples(scale, features), plain_runs(1), scale)

        def read(threads: int) -> int:
            drawn = windows(sharded, order, count=count, threads=threads, prefetch=threads)
            return sum(len(labels) for _, labels in drawn)

        calls = {"student": lambda: student(steps)} | {
            f"{threads} threads": partial(read, threads) for threads in (1, 2)
        }
        seconds = take_turns(calls, repeats)
        other = seconds["student"] / (steps * scale.batch_size)
        for threads in (1, 2):
            own = seconds[f"{threads} threads"] / read(threads)
            name = f"loader tokens, {threads} thread(s)"
            yield compare(name, "rows/s", 1, own, "the student's training", other)


def _sharded(scale: Scale, folder: Path) -> ShardedExamples:
    trace = accesses(scale, scale.trace_rows)
    write_trace(folder / "trace.txt", trace)
    store = encode_trace(trace_origin(folder / "trace.txt", TOKENS), folder / "shards")
    vocabulary = learn_pc_vocabulary([trace.pc], TOKENS.pc_vocabulary)
    part = Part(store, slice(store.first, store.first + store.examples))
    return ShardedExamples([part], TOKENS, vocabulary)


def _encode(path: Path, encoding: str) -> list[float]:
    """What a process of its own says."""
    with tempfile.TemporaryDirectory() as folder:
        command = "packd_jax.benchmarks.encode_shards", str(path), f"{folder}/shards", encoding
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return [float(value) for value in done.stdout.split()]
