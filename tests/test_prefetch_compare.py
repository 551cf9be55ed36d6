"""Students beside classical prefetchers: every row is what its parts, run alone, say."""

import functools
import json

import numpy as np
import pytest
import small_student
import small_study

from packd_jax.config import CacheLevelConfig, ConfigError
from packd_jax.prefetch.baselines import BASELINES
from packd_jax.prefetch.choose_policy import Objective
from packd_jax.prefetch.compare import (
    STUDENTS,
    as_line,
    as_markdown,
    compare,
    judge_student,
    think,
    variants,
    write_results,
)
from packd_jax.prefetch.learned import choose_prefetches, decide, probabilities, storage_bits
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.prefetcher import precomputed
from packd_jax.prefetch.simulator import simulate

SMALL = CacheLevelConfig(64 * 32, 2, 20)
MACHINES = [Machine(llc=SMALL, only_mapped_pages=False, inference_cycles=c) for c in (0, 50)]
FROM = 3200


@functools.cache
def compared():
    trace = small_study.trace(500)
    student = small_student.float_student()
    return trace, student, list(compare(trace, student, MACHINES, FROM))


def test_every_prefetcher_is_judged_on_every_machine():
    _, _, found = compared()
    classical = [*BASELINES, "oracle"]
    names = [row.outcome.name for row, _ in found]
    assert names == classical * 2 + [name for name in STUDENTS for _ in MACHINES]
    assert [row.inference_cycles for row, _ in found[-4:]] == [0, 50, 0, 50]
    assert len({row.outcome.instructions for row, _ in found}) == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_rows_of_students_are_what_their_policies_do(number):
    trace, student, found = compared()
    variant = variants(student, trace, FROM)[number]
    row, blocks = found[2 * (len(BASELINES) + 1) + 2 * number]
    expected = choose_prefetches(variant.student, trace, row.choice.policy)
    judged = trace.instr_id >= FROM
    # Before the loads that policies are chosen by nothing is prefetched, so filters may differ.
    same = (blocks == expected)[judged].mean()
    assert same > 0.95 and (blocks[trace.instr_id < FROM - FROM // 8] == -1).all()
    bits = storage_bits(variant.student, row.choice.policy)
    again = simulate(trace, precomputed(variant.name, blocks, bits), MACHINES[0], FROM)
    assert again == row.outcome and row.outcome.issued > 0


def test_retention_is_labelled_and_counted():
    trace, student, found = compared()
    variant = variants(student, trace, FROM)[3]
    row, blocks = found[-2]
    retention = row.choice.retention
    bits = storage_bits(variant.student, row.choice.policy) + retention.bits
    assert row.outcome.bytes == -(-bits // 8)
    assert row.as_row()["retention"]["entries"] == retention.entries
    thoughts = probabilities(variant.student, trace, slice(FROM // 10 - FROM // 80, trace.rows))
    np.testing.assert_array_equal(blocks, decide(thoughts, trace, row.choice.policy, retention))


def test_nothing_judged_changes_what_was_chosen():
    trace, student, found = compared()
    later = trace.instr_id >= FROM
    other = trace._replace(
        address=np.where(later, trace.address + np.uint64(64 * 7), trace.address),
        pc=np.where(later, np.uint64(0x999), trace.pc),
    )
    again = list(compare(other, student, MACHINES, FROM))
    for (one, before), (two, after) in zip(found, again):
        assert one.choice == two.choice
        if before is not None:
            np.testing.assert_array_equal(before[~later], after[~later])


def test_students_without_integers_are_judged_as_they_are():
    trace = small_study.trace(500)
    student = small_student.float_student()
    mixer = small_student.float_student(family="mixer", width=4)
    (only,) = variants(mixer, trace, FROM)
    assert only.name == "student_fp32"
    thoughts = think(mixer, trace, FROM)
    ((row, _),) = judge_student(only, thoughts, trace, MACHINES[:1], FROM)
    assert row.outcome.loads == sum(trace.instr_id >= FROM)
    with pytest.raises(ConfigError, match="2 clusters as an input: expected a student without"):
        variants(student._replace(clusters=2), trace, FROM)


def test_policies_are_chosen_for_the_objective():
    trace, student, _ = compared()
    integers = variants(student, trace, FROM)[1]
    choices = []
    for objective in (Objective(), Objective("coverage", 0.0)):
        thoughts = think(integers.student, trace, FROM)
        ((row, _),) = judge_student(integers, thoughts, trace, MACHINES[:1], FROM, objective)
        choices.append(row.choice)
    assert choices[0].loss > 0 >= choices[1].loss >= -1


def test_results_and_tables(tmp_path):
    _, _, found = compared()
    rows = [row for row, _ in found]
    write_results(rows, MACHINES[0], {"from_instr": FROM}, tmp_path / "new" / "results.json")
    stored = json.loads((tmp_path / "new" / "results.json").read_text())
    assert stored["from_instr"] == FROM and "coverage" in stored["definitions"]
    assert stored["machine"]["llc"]["size_bytes"] == 2048
    assert [row["name"] for row in stored["rows"]] == [row.outcome.name for row in rows]
    contract = "name bytes issued useful useless late accuracy coverage mpki mpki_none est_cycles"
    assert set(contract.split()) <= set(stored["rows"][0])
    assert "policy" not in stored["rows"][0] and stored["rows"][-1]["policy"]["degree"] == 2
    judged = [row.outcome for row in rows if row.inference_cycles == 0]
    lines = as_markdown(judged).splitlines()
    assert len(lines) == 2 + len(judged) and lines[2].endswith("| 1.000 |")
    none, last = judged[0], judged[-1]
    assert lines[-1].endswith(f"| {none.est_cycles / last.est_cycles:.3f} |")
    assert f"{100 * last.coverage:.1f} %" in as_line(rows[-2])
