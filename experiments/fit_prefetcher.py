"""The best prefetcher that fits: searched among inputs, widths, bits and distillation arms.

python -m experiments.fit_prefetcher --trace=FILE --workdir=DIR --budget_bytes=1024,2048,4096
python -m experiments.fit_prefetcher --trace=FILE --workdir=DIR --budget_cycles=200 \\
    --axis="widths=(8,16,32)" --axis="look_backs=(10,)" --train=0:7_000_000 ...

Bytes are those of all constants and state; cycles are counted operations of the integer kernel
on a unit with --lanes multipliers. Trains on the instructions --train, chooses on --validation,
judges what was chosen on --test. Leaves budgets.json (every design that was tried, and the
chosen one of each budget with its checkpoint, for `experiments.prefetch` and
`experiments.export`) and pareto.png in --workdir. About 10 seconds a design on 2 cores; the same
command again goes on where an interrupted one stopped.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError, TraceConfig, from_config_dict
from packd_jax.prefetch.budget import Limits, search
from packd_jax.prefetch.budget_config import SMOKE, BudgetConfig
from packd_jax.prefetch.budget_plot import budget_table, write_budget_plot
from packd_jax.quantize.cost import KernelMachine
from packd_jax.run_log import RunLog
from packd_jax.sweep import parse_axis

TRACE = flags.DEFINE_string("trace", None, "any trace of loads or accesses", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/budget", "where everything goes")
BYTES = flags.DEFINE_list(
    "budget_bytes", ["1024", "2048", "4096", "32768", "131072", "262144"], "of all state, each"
)
CYCLES = flags.DEFINE_integer(
    "budget_cycles", 0, "of a prediction; 0: any, lateness alone counts", lower_bound=0
)
LANES = flags.DEFINE_integer("lanes", 16, "8-bit multipliers of the unit", lower_bound=1)
TRAIN = flags.DEFINE_string("train", "1_000_000:7_000_000", "instructions START:STOP")
VALIDATION = flags.DEFINE_string("validation", "7_000_000:8_000_000", "those that choose")
TEST = flags.DEFINE_string("test", "8_000_000:10_000_000", "those that judge what was chosen")
AXES = flags.DEFINE_multi_string("axis", [], "what to search: FIELD=(value, value, ...)")
DRAWS = flags.DEFINE_integer("draws", None, "designs to train for each budget", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of the draw and of the training", lower_bound=0)
SMOKE_SIZE = flags.DEFINE_bool("smoke", False, "a few steps of everything, for tests")


def _window(flag: flags.FlagHolder) -> tuple[int, int]:
    try:
        start, stop = map(int, flag.value.split(":"))
    except ValueError:
        raise ConfigError(f"--{flag.name}={flag.value}: expected START:STOP") from None
    return start, stop


def _limits() -> Limits:
    try:
        sizes = sorted({int(text) for text in BYTES.value})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1:
        raise ConfigError(f"--budget_bytes={','.join(BYTES.value)}: expected numbers above 0")
    return Limits(tuple(sizes), CYCLES.value)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --trace={argv[1]}")
    limits, axes = _limits(), dict(map(parse_axis, AXES.value))
    usual = SMOKE if SMOKE_SIZE.value else BudgetConfig()
    usual = dataclasses.replace(usual, seed=SEED.value, draws=DRAWS.value or usual.draws)
    config = from_config_dict(BudgetConfig, axes, "axis", usual)
    windows = TraceConfig(
        paths=(TRACE.value,),
        train=_window(TRAIN),
        validation=_window(VALIDATION),
        test=_window(TEST),
    )
    workdir = Path(WORKDIR.value)
    with RunLog(workdir) as log:
        found = search(config, windows, limits, workdir, log, KernelMachine(lanes=LANES.value))
    write_budget_plot(found, workdir / "pareto.png")
    print(budget_table(found))
    for row in found["chosen"]:
        print(f"{row['budget_bytes']:,} bytes: --checkpoint={workdir / row['checkpoint']}")


if __name__ == "__main__":
    run(main)
