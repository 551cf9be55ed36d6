"""Peak memory of encoding a large trace, in a process that does nothing else.

python -m packd_jax.benchmarks.encode_memory ROWS tokens|segments

Prints the peak in bytes: interpreter, trace, encoded examples and all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.traces.load_trace import LoadTrace


def synthetic_trace(rows: int) -> LoadTrace:
    """A walk of short strides between loads of 64 PCs, half of which hit."""
    rng = np.random.default_rng(0)
    address = rng.integers(-(1 << 12), 1 << 12, rows)
    np.cumsum(address, out=address)
    address += 1 << 44
    return LoadTrace(
        instr_id=np.arange(1, 8 * rows, 8),
        cycle=np.arange(1, 8 * rows, 8),
        address=address.view(np.uint64),
        pc=rng.integers(0x400000, 0x400040, rows, dtype=np.uint64),
        hit=rng.integers(0, 2, rows, dtype=np.bool_),
    )


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: there Linux counts what the parent held when it started this process.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(rows: int, encoding: str) -> None:
    features = FeatureConfig(encoding=encoding)
    trace = synthetic_trace(rows)
    vocabulary = learn_pc_vocabulary([trace.pc], features.pc_vocabulary)
    examples = encode(trace, slice(0, rows), features, vocabulary)
    assert examples.rows > 0  # still held
    print(peak_bytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
