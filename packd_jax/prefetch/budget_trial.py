"""One design of a search: trained, quantised, judged on validation, and on test if chosen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from packd_jax import metrics, results
from packd_jax.config import Config, TraceConfig, to_json_dict
from packd_jax.example_source import in_memory
from packd_jax.export import CompiledStudent, find_compiler, verify
from packd_jax.prefetch.budget_config import BudgetConfig, Design
from packd_jax.prefetch.budget_grid import Sized
from packd_jax.prefetch.choose_policy import choose_policy
from packd_jax.prefetch.learned import choose_prefetches, storage_bits
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.outcome import Outcome
from packd_jax.prefetch.policy import PolicyConfig
from packd_jax.prefetch.prefetcher import no_prefetcher, precomputed
from packd_jax.prefetch.simulator import simulate
from packd_jax.protocol import choose, prepare
from packd_jax.quantize import (
    FloatStudent,
    IntegerStudent,
    load_integer_student,
    quantize_student,
    save_integer_student,
)
from packd_jax.quantize.cost import KernelMachine, kernel_cycles
from packd_jax.run_log import RunLog
from packd_jax.splits import Source, encode_splits
from packd_jax.students import Material, Student, train_students
from packd_jax.sweep_table import read_rows
from packd_jax.traces.load_trace import LoadTrace, window_rows

ENTRY = "tokens"  # the name of the study's only entry
Row = dict[str, Any]


class Task(NamedTuple):
    """What all designs of a search share."""

    config: BudgetConfig
    windows: TraceConfig
    source: Source
    kernel: KernelMachine
    machine: Machine
    workdir: Path
    log: RunLog


def judge(task: Task, one: Sized, none: Outcome) -> Row:
    """What the design is worth on validation: from the workdir, or trained now."""
    table, identity = task.workdir / "candidates.jsonl", _identity(task, one.design)
    known = {row["id"]: row for row in read_rows(table)}
    if identity in known:
        return known[identity]
    material, student = _trained(task, one.design)
    splits = material.splits
    integers, how = quantize_student(
        _float_student(student, material),
        in_memory(splits.train.examples),
        in_memory(splits.validation.examples),
        one.design.weight_bits,
    )
    cycles = kernel_cycles(integers, task.kernel, task.machine.degree)
    machine = dataclasses.replace(task.machine, inference_cycles=cycles.total)
    start, stop = task.windows.validation
    policy = dataclasses.replace(
        choose_policy(integers, task.source.trace, machine, start, stop),
        filter_blocks=one.design.filter_blocks,
    )
    outcome = _outcome(task, "validation", integers, policy)
    row = {
        "id": identity,
        "design": dataclasses.asdict(one.design),
        "bytes": outcome.bytes,
        "kernel_cycles": cycles.total,
        "kernel_parts": cycles._asdict(),
        "params": sum(leaf.size for leaf in jax.tree.leaves(student.stack.variables["params"])),
        "f1": how.f1,
        "float_f1": how.float_f1,
        "fine_tuned": how.fine_tuned,
        "policy": dataclasses.asdict(policy),
        "validation": outcome.as_row(),
        "speedup": none.est_cycles / outcome.est_cycles,
    }
    row = json.loads(json.dumps(row))  # as it will be read
    save_integer_student(_integers_path(task, identity), integers, {"design": row["design"]})
    with table.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    task.log.say(
        f"{outcome.bytes:,} bytes, {cycles.total:,} cycles, F1 {how.f1:.4f}:"
        f" speed-up {row['speedup']:.4f} on validation"
    )
    return row


def judge_on_test(task: Task, design: Design, row: Row, none: Outcome) -> Row:
    """The row of a chosen design with its test outcome, checkpoint and measured time."""
    material, student = _trained(task, design)
    home = task.workdir / "chosen" / row["id"]
    histograms = results.judge_on_test([student], material)
    (kept,) = results.student_rows(ENTRY, [student], histograms, material, [task.source], home)
    integers, _ = load_integer_student(_integers_path(task, row["id"]))
    outcome = _outcome(task, "test", integers, PolicyConfig(**row["policy"]))
    return {
        **row,
        "test": outcome.as_row(),
        "test_speedup": none.est_cycles / outcome.est_cycles,
        "test_f1": kept["f1"],
        "checkpoint": str((home / kept["checkpoint"]).relative_to(task.workdir)),
        "integers": str(_integers_path(task, row["id"]).relative_to(task.workdir)),
        "ns_per_access": _measured(integers, task.source.trace),
    }


def _trained(task: Task, design: Design) -> tuple[Material, Student]:
    """The design's student; what an earlier call left in the workdir is not trained again."""
    config, entry = task.config, task.config.entry(design)
    study = Config(
        name="budget",
        trace=task.windows,
        entries={ENTRY: entry},
        arms=(design.arm,),
        seeds=(config.seed,),
    )
    splits = encode_splits([task.source], task.windows, entry.features)
    # Teachers and soft targets depend on the inputs, and are shared by all students of these.
    shared = [entry.features, entry.teacher, entry.teacher_train]
    home = task.workdir / "trained" / _digest(task, shared)
    material = prepare(entry, splits, study, home, task.log)
    name = _digest(task, [entry.student, entry.student_train, design.arm])
    (candidate,) = choose(material, home, task.log)
    (student,) = train_students([candidate], study.seeds, material, home, name, task.log)
    return material, student


def _float_student(student: Student, material: Material) -> FloatStudent:
    probability = metrics.threshold_probability(int(student.stack.threshold_bin[student.run]))
    return FloatStudent(
        model=material.entry.student,
        features=material.entry.features,
        clusters=0,
        params=jax.tree.map(
            lambda leaf: np.asarray(leaf[student.run]), student.stack.variables["params"]
        ),
        pc_vocabulary=material.splits.pc_vocabulary,
        threshold=float(np.log(probability) - np.log1p(-probability)),
    )


def _outcome(task: Task, window: str, student: IntegerStudent, policy: PolicyConfig) -> Outcome:
    """What the prefetcher does in a window, when its predictions take the counted cycles."""
    trace, start = _until(task, window)
    cycles = kernel_cycles(student, task.kernel, task.machine.degree).total
    machine = dataclasses.replace(task.machine, inference_cycles=cycles)
    blocks = choose_prefetches(student, trace, policy)
    prefetcher = precomputed("student", blocks, storage_bits(student, policy))
    return simulate(trace, prefetcher, machine, start)


def without_prefetches(task: Task, window: str) -> Outcome:
    trace, start = _until(task, window)
    return simulate(trace, no_prefetcher(), task.machine, start)


def _until(task: Task, window: str) -> tuple[LoadTrace, int]:
    """The trace up to the end of a window, and the window's first instruction."""
    start, stop = getattr(task.windows, window)
    trace = task.source.trace
    return trace.take(window_rows(trace, 0, stop, "instructions")), start


def _measured(student: IntegerStudent, trace: LoadTrace) -> float | None:
    """Nanoseconds an access of the compiled header; None without a compiler."""
    compiler = find_compiler()
    if compiler is None:
        return None
    return verify(student, CompiledStudent(student, compiler), trace).ns_per_access


def _integers_path(task: Task, identity: str) -> Path:
    folder = task.workdir / "integers"
    folder.mkdir(exist_ok=True)
    return folder / f"{identity}.npz"


def _identity(task: Task, design: Design) -> str:
    """A name for all that a design's row depends on."""
    settings = [design, task.config.entry(design), task.kernel, task.machine]
    return _digest(task, settings)


def _digest(task: Task, settings: Sequence[Any]) -> str:
    """Of the settings, the trace, its windows and the seed."""
    windows = dataclasses.replace(task.windows, paths=())
    plain = [to_json_dict(s) if dataclasses.is_dataclass(s) else s for s in (*settings, windows)]
    text = json.dumps([*plain, task.source.sha256, task.config.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
