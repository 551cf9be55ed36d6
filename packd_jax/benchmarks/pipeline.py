"""What comes before training: recording, filtering, reading and encoding a trace."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from packd_jax.benchmarks.scales import SEGMENTS, TOKENS, Scale, accesses
from packd_jax.benchmarks.timing import Line, make_line, repeat
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.traces.cache import llc_loads
from packd_jax.traces.mldpc import write_trace
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.workloads import record_workload


def workload(scale: Scale, repeats: int) -> Iterator[Line]:
    """Recording the built-in workload, and the caches alone.

    The caches are given loads that miss L1D and L2, the slowest there are.
    """
    seconds = repeat(lambda: record_workload(scale.workload), repeats)
    yield make_line("workload record", "s", seconds)
    yield make_line("workload record", "instr/s", scale.workload.instructions / seconds)
    trace = accesses(scale, scale.trace_rows)
    columns = trace.address, trace.pc, np.zeros(trace.rows, np.bool_), np.arange(trace.rows)
    seconds = repeat(lambda: llc_loads(*columns, scale.workload.cache), repeats)
    yield make_line("workload cache filter, all misses", "accesses/s", trace.rows / seconds)


def read(scale: Scale, repeats: int) -> Iterator[Line]:
    """Reading ML-DPC text; one core."""
    trace = accesses(scale, scale.trace_rows)
    with tempfile.TemporaryDirectory() as directory:
        for suffix in ("", ".gz", ".xz"):
            path = Path(directory) / f"trace.txt{suffix}"
            write_trace(path, trace)
            seconds = repeat(partial(read_trace, path), repeats)
            yield make_line(f"read {path.name}", "lines/s", trace.rows / seconds)


def features(scale: Scale, repeats: int) -> Iterator[Line]:
    """Encoding, labels included; one core."""
    trace = accesses(scale, scale.trace_rows)
    for config in (TOKENS, SEGMENTS):
        vocabulary = learn_pc_vocabulary([trace.pc], config.pc_vocabulary)
        call = partial(encode, trace, slice(0, trace.rows), config, vocabulary)
        rows, seconds = call().rows, repeat(call, repeats)
        yield make_line(f"features {config.encoding}", "rows/s", rows / seconds)


def encode_memory(scale: Scale, repeats: int) -> Iterator[Line]:
    """Peak memory of a process that makes a synthetic trace and encodes it."""
    for config in (TOKENS, SEGMENTS):
        command = "packd_jax.benchmarks.encode_memory", str(scale.memory_rows), config.encoding
        peaks = [
            subprocess.run(
                [sys.executable, "-m", *command],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
            for _ in range(repeats)
        ]
        name = f"encode_memory {config.encoding}, {scale.memory_rows:,} rows"
        yield make_line(name, "GB", np.array([float(peak) / 1e9 for peak in peaks]))
