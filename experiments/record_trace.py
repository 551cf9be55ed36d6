"""A synthetic ML-DPC trace of any length from the built-in graph kernels, in bounded memory.

python -m experiments.record_trace --out=big.txt.gz --loads=100_000_000 [--kernels=pr,cc,...]

The kernels run in turn, --instructions at a time, each on another graph of 2**--scale vertices.
The same flags give the same file, which ends in .txt, .gz or .xz and appears whole or not at all.
Exits with 2 and one line on stderr for a mistake.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError, WorkloadConfig
from packd_jax.run_log import Progress
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.long_workload import record_pieces
from packd_jax.traces.mldpc import write_chunks

_SUFFIXES = (".txt", ".gz", ".xz")

OUT = flags.DEFINE_string("out", None, "the file to write", required=True)
LOADS = flags.DEFINE_integer("loads", None, "how many lines it has", lower_bound=1, required=True)
KERNELS = flags.DEFINE_list("kernels", ["bfs", "pr", "cc", "sssp", "bc"], "which run in turn")
INSTRUCTIONS = flags.DEFINE_integer("instructions", 20_000_000, "of each run", lower_bound=1)
SCALE = flags.DEFINE_integer("scale", 18, "graphs have 2**scale vertices")
SEED = flags.DEFINE_integer("seed", 1, "of the first graph; the others follow", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"{argv[1]}: expected flags only, like --out={argv[1]}")
    if Path(OUT.value).suffix not in _SUFFIXES:
        raise ConfigError(f"--out={OUT.value}: expected a name that ends in {', '.join(_SUFFIXES)}")
    config = WorkloadConfig(scale=SCALE.value, seed=SEED.value, instructions=INSTRUCTIONS.value)
    pieces = record_pieces(config, KERNELS.value, LOADS.value)
    rows = write_chunks(OUT.value, _with_progress(pieces, LOADS.value))
    print(f"{rows:,} loads in {OUT.value}")


def _with_progress(pieces: Iterator[LoadTrace], total: int) -> Iterator[LoadTrace]:
    progress, rows = None, 0
    for piece in pieces:
        if progress is None:  # the first piece is there: nothing was wrong with the flags
            progress = Progress("record", total, 0, sys.stderr)
        yield piece
        rows += piece.rows
        progress(rows)
    if progress is not None:
        progress.close("done")


if __name__ == "__main__":
    run(main)
