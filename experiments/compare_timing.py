"""Times modules of milliseconds as a loop's slope and call by call: do the two ways agree?

python -m experiments.compare_timing --workdir=runs/compare_timing [--modules=20]

Takes about three seconds a module. Leaves methods.md in --workdir.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from latency_jax.collection.schedule import rounds
from latency_jax.config import CollectConfig
from latency_jax.environment import run_inline
from latency_jax.measuring.methods import as_markdown, compare_methods
from latency_jax.measuring.timing import CAREFUL
from latency_jax.modules import get_kind
from packd_jax.config import ConfigError
from packd_jax.staged_file import write_text

WORKDIR = flags.DEFINE_string("workdir", "runs/compare_timing", "where the table goes")
MODULES = flags.DEFINE_integer("modules", 20, "how many", lower_bound=1)
WORK = flags.DEFINE_float("work", 1e8, "FLOPs at least: a millisecond of two cores")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --modules={argv[1]}")
    run_inline()
    drawn = (job.config for jobs in rounds(CollectConfig(configurations=10_000)) for job in jobs)
    large = (c for c in drawn if get_kind(c.kind).cost(c.values).flops >= WORK.value)
    table = as_markdown(
        list(compare_methods(list(itertools.islice(large, MODULES.value)), CAREFUL))
    )
    workdir = Path(WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(workdir / "methods.md", table + "\n")
    print(table)


if __name__ == "__main__":
    run(main)
