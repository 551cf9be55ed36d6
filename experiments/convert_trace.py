"""Any trace to ML-DPC text, piece by piece, so files of any length need little memory.

python -m experiments.convert_trace IN OUT [--format=NAME] [--start=N] [--stop=N]
python -m experiments.convert_trace champsim.trace.xz loads.txt.xz --cache.preset=champsim
python -m experiments.convert_trace app.csv loads.txt.gz --columns=address=vaddr,pc=rip

IN: ChampSim records, Valgrind lackey, DynamoRIO view, CSV with named columns, ML-DPC text; plain,
xz or gzip. OUT ends in .txt, .gz or .xz, and appears whole or not at all. All accesses pass the
caches of --cache.preset, any size of which can be set: --cache.llc.size_bytes=1048576. Instruction
ids stay as they are; those before --start fill the caches, reading ends at --stop. Exits
with 2 and one line on stderr for what cannot be read or written.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from absl import flags

from experiments.command_line import run
from packd_jax.config import CACHE_PRESETS, CacheConfig, ConfigError, from_config_dict
from packd_jax.run_log import Progress
from packd_jax.traces.byte_source import open_trace
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.mldpc import write_chunks
from packd_jax.traces.read_trace import FORMATS, trace_chunks

_SUFFIXES = (".txt", ".gz", ".xz")
_QUIET_SECONDS = 1.0

FORMAT = flags.DEFINE_enum("format", "auto", ["auto", *FORMATS], "of IN; auto: by its content")
COLUMNS = flags.DEFINE_list("columns", [], "of a CSV file, FIELD=NAME,...; FIELD= if it has none")
START = flags.DEFINE_integer("start", 0, "first instruction to keep", lower_bound=0)
STOP = flags.DEFINE_integer("stop", None, "first instruction to drop", lower_bound=1)
PRESET = flags.DEFINE_enum("cache.preset", "ml_dpc", list(CACHE_PRESETS), "the machine's caches")
MEMORY = flags.DEFINE_integer("cache.memory_latency_cycles", None, "if not the preset's")
LEVELS = {
    level: {
        name: flags.DEFINE_integer(f"cache.{level}.{name}", None, "if not the preset's")
        for name in ("size_bytes", "ways", "latency_cycles")
    }
    for level in ("l1d", "l2", "llc")
}


def main(argv: Sequence[str]) -> None:
    if len(argv) != 3:
        raise ConfigError(f"{len(argv) - 1} files given; expected IN OUT")
    source, target = argv[1:]
    if Path(target).suffix not in _SUFFIXES:
        raise ConfigError(f"{target}: expected a name that ends in {', '.join(_SUFFIXES)}")
    for column in COLUMNS.value:
        if "=" not in column:
            raise ConfigError(f"--columns: {column!r}: expected FIELD=NAME")
    cache = cache_config()
    with open_trace(source) as file:
        loads = trace_chunks(
            file,
            source,
            cache,
            format=FORMAT.value,
            columns=dict(column.split("=", 1) for column in COLUMNS.value),
            start=START.value,
            stop=STOP.value,
        )
        rows = write_chunks(target, _with_progress(loads, file))
    print(f"{rows:,} loads in {target}")


def cache_config() -> CacheConfig:
    """The preset, with every number that is given."""
    values: dict[str, Any] = {
        level: {name: flag.value for name, flag in numbers.items() if flag.value is not None}
        for level, numbers in LEVELS.items()
    }
    if MEMORY.value is not None:
        values["memory_latency_cycles"] = MEMORY.value
    return from_config_dict(CacheConfig, values, "cache", CACHE_PRESETS[PRESET.value])


def _with_progress(loads: Iterator[LoadTrace], file: BinaryIO) -> Iterator[LoadTrace]:
    """The loads; after a second, stderr tells how many of the bytes of `file` they took."""
    total, began = os.fstat(file.fileno()).st_size, time.monotonic()
    progress, rows = None, 0
    for chunk in loads:
        rows += chunk.rows
        if progress is None and time.monotonic() - began > _QUIET_SECONDS:
            progress = Progress("convert", total, file.tell(), sys.stderr)
        if progress is not None:
            progress(file.tell(), loads=f"{rows:,}")
        yield chunk
    if progress is not None:
        progress.close("done")


if __name__ == "__main__":
    run(main)
