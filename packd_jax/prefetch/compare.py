"""A student's prefetches beside the classical prefetchers', on one trace and one machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import ConfigError
from packd_jax.features import encode
from packd_jax.json_files import write_json
from packd_jax.prefetch.baselines import BASELINES
from packd_jax.prefetch.choose_policy import FEWEST_CYCLES, Choice, Objective, best_policy
from packd_jax.prefetch.learned import (
    AdaptiveStudent,
    Student,
    Thought,
    decide,
    probabilities,
    storage_bits,
)
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.oracle import oracle
from packd_jax.prefetch.outcome import DEFINITIONS, Outcome, ratio
from packd_jax.prefetch.prefetcher import precomputed
from packd_jax.prefetch.retention import RetentionConfig
from packd_jax.prefetch.simulator import simulate
from packd_jax.provenance import provenance
from packd_jax.quantize import FloatStudent, quantize_student
from packd_jax.traces.load_trace import LoadTrace, window_rows

RETENTIONS = tuple(
    RetentionConfig(entries, least)
    for entries, least in ((16384, 2), (32768, 4), (32768, 8), (65536, 2))
)
STUDENTS = ("student_fp32", "student_int8", "student_int8_adapting", "student_int8_retaining")
CHOOSING_SHARE = 8  # the last eighth of the instructions before the judged ones


class Judged(NamedTuple):
    """A row of a table: what a prefetcher did, and under which conditions."""

    outcome: Outcome
    inference_cycles: int
    choice: Choice | None = None  # of a student

    def as_row(self) -> dict[str, Any]:
        """The outcome's fields, and the conditions, as a JSON object."""
        row = self.outcome.as_row() | {"inference_cycles": self.inference_cycles}
        if self.choice is None:
            return row
        retention = self.choice.retention
        row["policy"] = asdict(self.choice.policy)
        return row | ({"retention": asdict(retention)} if retention else {})


class Variant(NamedTuple):
    """A student as a prefetcher."""

    name: str
    student: Student
    retentions: Sequence[RetentionConfig | None] = (None,)


def compare(
    trace: LoadTrace,
    student: FloatStudent,
    machines: Sequence[Machine],
    from_instr: int,
    objective: Objective = FEWEST_CYCLES,
) -> Iterator[tuple[Judged, np.ndarray | None]]:
    """Judges every prefetcher on the loads from instruction `from_instr` on, on each machine.

    Yields the classical prefetchers, the oracle, then the variants of the student, these with
    the blocks i64[N, degree] that they prefetch. Whatever is chosen is chosen by the loads before.
    """
    for machine in machines:
        for prefetcher in (*(make() for make in BASELINES.values()), oracle(trace)):
            outcome = simulate(trace, prefetcher, machine, from_instr)
            yield Judged(outcome, machine.inference_cycles), None
    thinker, thoughts = None, []
    for variant in variants(student, trace, from_instr):
        if variant.student is not thinker:
            thinker, thoughts = variant.student, think(variant.student, trace, from_instr)
        yield from judge_student(variant, thoughts, trace, machines, from_instr, objective)


def variants(student: FloatStudent, trace: LoadTrace, from_instr: int) -> list[Variant]:
    """The student as it is; in 8-bit integers; these learning on; and touching what should stay.

    The integers' ranges and, if need be, their fine-tuning are those of the loads before the
    ones that policies are chosen by. Only a token_mlp over tokens has integers. Raises ConfigError
    for a student that needs more than the loads and its parameters.
    """
    if student.clusters or student.model.family == "resnet":
        raise ConfigError(
            f"a {student.model.family} with {student.clusters} clusters as an input: expected a"
            " student without cluster ids and batch statistics, like a token_mlp of the arm no_kd"
        )
    if student.model.family != "token_mlp" or student.features.encoding != "tokens":
        return [Variant(STUDENTS[0], student)]
    start = _choosing_start(from_instr)
    rows = [window_rows(trace, *w, "instructions") for w in ((0, start), (start, from_instr))]
    examples = [encode(trace, part, student.features, student.pc_vocabulary) for part in rows]
    known = examples if all(e.rows for e in examples) else (None, None)
    integers, _ = quantize_student(student, *known)
    learning = AdaptiveStudent(integers)
    return [
        Variant(STUDENTS[0], student),
        Variant(STUDENTS[1], integers),
        Variant(STUDENTS[2], learning),
        Variant(STUDENTS[3], learning, RETENTIONS),
    ]


def think(student: Student, trace: LoadTrace, from_instr: int) -> list[Thought]:
    """What the student thinks at the judged loads, and at those that choose its policy."""
    first = window_rows(trace, 0, _choosing_start(from_instr), "instructions").stop
    # Half floats: there is a probability for each delta at each load.
    found = probabilities(student, trace, slice(first, trace.rows))
    return [(part, p.astype(np.float16)) for part, p in found]


def judge_student(
    variant: Variant,
    thoughts: Sequence[Thought],
    trace: LoadTrace,
    machines: Sequence[Machine],
    from_instr: int,
    objective: Objective = FEWEST_CYCLES,
) -> Iterator[tuple[Judged, np.ndarray]]:
    """The student on the same loads, on each machine, and its prefetches i64[N, degree].

    `thoughts` are those that `think` gives. The policy is chosen anew for each machine, by the last
    `CHOOSING_SHARE`-th of the instructions before `from_instr`.
    """
    start = _choosing_start(from_instr)
    known = trace.take(window_rows(trace, 0, from_instr, "instructions"))
    before = [
        (slice(r.start, min(r.stop, known.rows)), p[: known.rows - r.start])
        for r, p in thoughts
        if r.start < known.rows
    ]
    for machine in machines:
        choice = best_policy(before, known, machine, start, objective, variant.retentions)
        blocks = decide(thoughts, trace, choice.policy, choice.retention)
        bits = storage_bits(variant.student, choice.policy)
        bits += choice.retention.bits if choice.retention else 0
        outcome = simulate(trace, precomputed(variant.name, blocks, bits), machine, from_instr)
        yield Judged(outcome, machine.inference_cycles, choice), blocks


def _choosing_start(from_instr: int) -> int:
    return from_instr - from_instr // CHOOSING_SHARE


def write_results(
    rows: Sequence[Judged], machine: Machine, about: Mapping[str, Any], path: Path
) -> None:
    """A JSON object: `rows`, a prefetcher each, and all that they depend on."""
    content = {
        **about,
        "environment": provenance(),
        "machine": asdict(machine),
        "definitions": DEFINITIONS,
        "rows": [row.as_row() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for each prefetcher; speed-up is over the first one, by estimated cycles."""
    lines = [
        "| prefetcher | bytes | issued | accuracy | coverage | late | MPKI | M cycles | speed-up |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in outcomes:
        late = ratio(row.late, row.useful + row.late)
        lines.append(
            f"| {row.name} | {row.bytes:,} | {row.issued:,} | {100 * row.accuracy:.1f} % |"
            f" {100 * row.coverage:.1f} % | {100 * late:.1f} % | {row.mpki:.2f} |"
            f" {row.est_cycles / 1e6:.2f} | {outcomes[0].est_cycles / row.est_cycles:.3f} |"
        )
    return "\n".join(lines)


def as_line(row: Judged) -> str:
    """What a person wants to see while the others are computed."""
    outcome = row.outcome
    return (
        f"{outcome.name:<22} latency {row.inference_cycles:4}  coverage"
        f" {100 * outcome.coverage:5.1f} %  accuracy {100 * outcome.accuracy:5.1f} %"
        f"  {outcome.est_cycles / 1e6:10.2f} M cycles"
    )
