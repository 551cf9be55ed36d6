"""Runs a command under Valgrind and keeps the loads that its last-level cache would see.

python -m experiments.capture_trace --out=loads.txt.xz -- ./program args
python -m experiments.capture_trace --out=loads.txt.xz --begin=kernel --stop=20_000_000 -- ./program
python -m experiments.capture_trace --out=loads.txt.gz --begin=0x109149 --end=report -- ./program

Leaves ML-DPC text in --out, which experiments.packd reads: all accesses pass the caches of
--cache.preset, cold at first. --begin and --end are functions of the program or addresses; the
trace starts when the first one first runs and ends when the other one next does. Instructions
count from there: those before --start fill the caches only, and the program is ended soon after
--stop, or after --stop_lines lines of what Valgrind says. Needs Valgrind; a traced program takes
some hundred times as long as it does alone.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.config import CACHE_PRESETS, ConfigError
from packd_jax.traces.capture import Region, capture
from packd_jax.traces.lackey import read_lackey
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.mldpc import write_chunks
from packd_jax.traces.read_trace import filtered

_SUFFIXES = (".txt", ".gz", ".xz")
_EVERY_SECONDS = 5.0

OUT = flags.DEFINE_string("out", None, "the trace, .txt, .gz or .xz", required=True)
BEGIN = flags.DEFINE_string("begin", "", "function or 0x address; without, the program's start")
END = flags.DEFINE_string("end", "", "function or 0x address; without, the program's end")
START = flags.DEFINE_integer("start", 0, "first instruction to keep", lower_bound=0)
STOP = flags.DEFINE_integer("stop", None, "first instruction to drop", lower_bound=1)
SKIP_LINES = flags.DEFINE_integer("skip_lines", 0, "of Valgrind's to skip", lower_bound=0)
STOP_LINES = flags.DEFINE_integer("stop_lines", None, "of Valgrind's to end at", lower_bound=1)
PRESET = flags.DEFINE_enum("cache.preset", "ml_dpc", list(CACHE_PRESETS), "the machine's caches")


def main(argv: Sequence[str]) -> None:
    command = argv[1:]
    if not command:
        raise ConfigError("no command: expected --out=FILE -- ./program args")
    if Path(OUT.value).suffix not in _SUFFIXES:
        raise ConfigError(f"--out={OUT.value}: expected a name that ends in {', '.join(_SUFFIXES)}")
    region = Region(BEGIN.value, END.value, SKIP_LINES.value, STOP_LINES.value)
    accesses = read_lackey(capture(command, region), command[0])
    cache = CACHE_PRESETS[PRESET.value]
    loads = filtered(accesses, command[0], cache, START.value, STOP.value)
    rows = write_chunks(OUT.value, _with_progress(loads))
    print(f"{rows:,} loads in {OUT.value}")


def _with_progress(loads: Iterator[LoadTrace]) -> Iterator[LoadTrace]:
    """The loads; now and then stderr tells how many there are."""
    rows, told = 0, time.monotonic()
    for chunk in loads:
        rows += chunk.rows
        if time.monotonic() - told > _EVERY_SECONDS:
            told = time.monotonic()
            print(
                f"capture: {rows:,} loads, instruction {chunk.instr_id[-1]:,}",
                file=sys.stderr,
                flush=True,
            )
        yield chunk


if __name__ == "__main__":
    run(main)
