"""What a student's prefetches are worth, beside the classical prefetchers, and their file.

python -m experiments.prefetch --trace=FILE --checkpoint=DIR --workdir=OUT --from_instr=8_000_000
python -m experiments.prefetch --trace=FILE --checkpoint=DIR --workdir=OUT --write=prefetches.txt

Judges the loads from --from_instr on; those before fill the caches and tables, and the last
eighth of them chooses the policy. The student comes as it is, in 8-bit integers, these learning
on, and these with retention. Leaves OUT/results.json, a row for each prefetcher, and prints it.
--write leaves what the ML-DPC ChampSim reads: the prefetches of --writer from there on, at most
two a load, each from what is known up to that load; of the integer student that the choosing
loads speak for, if none is named.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError
from packd_jax.prefetch.choose_policy import OBJECTIVES, Objective
from packd_jax.prefetch.compare import STUDENTS, as_line, as_markdown, compare, write_results
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.mldpc_file import write_prefetch_file
from packd_jax.quantize import load_student
from packd_jax.traces.load_trace import window_rows
from packd_jax.traces.read_trace import read_trace

TRACE = flags.DEFINE_string("trace", None, "any trace of loads or accesses", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "a student, as studies leave", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/prefetch", "where everything goes")
WRITE = flags.DEFINE_string("write", "", "leave the prefetches in this file, too")
WRITER = flags.DEFINE_enum("writer", "best", ["best", *STUDENTS], "whose prefetches --write leaves")
FROM_INSTR = flags.DEFINE_integer("from_instr", 0, "the first that is judged", lower_bound=0)
TO_INSTR = flags.DEFINE_integer("to_instr", 0, "the one behind the last; 0: all", lower_bound=0)
INFERENCE = flags.DEFINE_list(
    "inference_cycles", ["0"], "from a load until its prefetches are known; several: a table each"
)
OBJECTIVE = flags.DEFINE_enum("objective", "cycles", OBJECTIVES, "what policies are chosen for")
FLOOR = flags.DEFINE_float("accuracy_floor", 0.5, "of policies chosen for coverage", 0, 1)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --trace={argv[1]}")
    if not all(cycles.isdigit() for cycles in INFERENCE.value) or not INFERENCE.value:
        raise ConfigError(f"--inference_cycles={','.join(INFERENCE.value)}: expected whole numbers")
    if Path(WRITE.value).is_dir() and WRITE.value:
        raise ConfigError(f"--write={WRITE.value}: a folder; expected a file")
    objective = Objective(OBJECTIVE.value, FLOOR.value)
    machines = [Machine(inference_cycles=int(cycles)) for cycles in INFERENCE.value]
    student, meta = load_student(CHECKPOINT.value)
    trace = read_trace(TRACE.value)
    if TO_INSTR.value:
        trace = trace.take(window_rows(trace, 0, TO_INSTR.value, "instructions"))
    from_instr, last = FROM_INSTR.value, int(trace.instr_id.max(initial=-1))
    if from_instr > last:
        raise ConfigError(f"--from_instr={from_instr}: expected at most {last}, the last load's")
    judged, written = [], {}
    for row, blocks in compare(trace, student, machines, from_instr, objective):
        judged.append(row)
        print(as_line(row), file=sys.stderr)
        at_first = row.inference_cycles == machines[0].inference_cycles
        if row.choice and blocks is not None and at_first:
            written[row.outcome.name] = (row.choice.loss, blocks)
    if WRITE.value:
        name = WRITER.value
        if name == "best":
            integers = [one for one in STUDENTS[1:] if one in written]
            name = min(integers, key=lambda one: written[one][0], default=STUDENTS[0])
        if name not in written:
            raise ConfigError(f"--writer={name}: expected one of {', '.join(written)}")
        Path(WRITE.value).parent.mkdir(parents=True, exist_ok=True)
        lines = write_prefetch_file(Path(WRITE.value), trace, written[name][1], from_instr)
        print(f"{WRITE.value}: {lines:,} prefetches of {name}", file=sys.stderr)
    about = {
        "trace": TRACE.value,
        "checkpoint": CHECKPOINT.value,
        "student": meta["config"],
        "from_instr": from_instr,
        "objective": dataclasses.asdict(objective),
    }
    write_results(judged, machines[0], about, Path(WORKDIR.value) / "results.json")
    for machine in machines:
        cycles = machine.inference_cycles
        print(f"\nInference latency of {cycles} cycles:\n")
        print(as_markdown([row.outcome for row in judged if row.inference_cycles == cycles]))


if __name__ == "__main__":
    run(main)
