"""Speed and peak memory of encoding a trace file to shards, in a process that does nothing else.

python -m packd_jax.benchmarks.encode_shards TRACE DIRECTORY tokens|segments

Prints seconds, seconds of all cores together, and the peak in bytes: interpreter, parsing,
encoding, writing and all. The directory is left empty.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from packd_jax.benchmarks.encode_memory import peak_bytes, synthetic_trace
from packd_jax.config import FeatureConfig
from packd_jax.shards.encode_trace import encode_trace, trace_origin
from packd_jax.traces.mldpc import write_chunks


def write_synthetic(path: Path, rows: int) -> None:
    """A trace file of so many rows, made of the same million again and again."""
    piece = synthetic_trace(min(rows, 1_000_000))
    counts = [min(piece.rows, rows - start) for start in range(0, rows, piece.rows)]
    write_chunks(path, (piece.take(slice(0, count)) for count in counts))


def main(path: Path, directory: Path, encoding: str) -> None:
    features = FeatureConfig(encoding=encoding)
    directory.mkdir(parents=True, exist_ok=True)
    small = directory / "small.txt"
    write_synthetic(small, 2_000)
    encode_trace(trace_origin(small, features), directory / "small")  # compiles what it must
    began, cores = time.perf_counter(), time.process_time()
    store = encode_trace(trace_origin(path, features), directory / "shards")
    print(time.perf_counter() - began, time.process_time() - cores, peak_bytes())
    assert store.examples > 0
    shutil.rmtree(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
