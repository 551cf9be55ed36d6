"""What a load trace looks like: a file's, or the built-in workload's of the configuration.

python -m experiments.describe_trace FILE ...
python -m experiments.describe_trace --config.trace.workload.kernel=cc \\
    --config.trace.workload.scale=20 --config.trace.workload.instructions=20_000_000
"""

from collections.abc import Sequence

import numpy as np

from experiments.command_line import define_config, run, study_config
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.workloads import record_workload

CONFIG = define_config("quick")


def main(argv: Sequence[str]) -> None:
    print(
        f"{'loads':>10} {'instructions':>13} {'LLC hits':>9} {'|delta|<=128':>13} {'PCs':>6}  trace"
    )
    for path in argv[1:]:
        print(describe(read_trace(path)), path)
    if len(argv) == 1:
        workload = study_config(CONFIG.value, ()).trace.workload
        name = f"{workload.kernel}, {workload.graph} graph of scale {workload.scale}"
        print(describe(record_workload(workload)), name)


def describe(trace: LoadTrace) -> str:
    """Rows, last instruction, hit rate, share of small block deltas between loads, PCs."""
    block = trace.block
    small = np.abs(np.diff(block)) <= 128
    share = small.mean() if len(small) else 0.0
    return (
        f"{trace.rows:>10,} {trace.instr_id.max():>13,} {trace.hit.mean():>9.3f} {share:>13.3f} "
        f"{len(np.unique(trace.pc)):>6,} "
    )


if __name__ == "__main__":
    run(main)
