"""One design: what its row says, what is shared, and what is not done twice."""

import dataclasses

import pytest
import small_study

from packd_jax.config import TraceConfig
from packd_jax.export import find_compiler
from packd_jax.prefetch.budget_config import SMOKE
from packd_jax.prefetch.budget_grid import sized
from packd_jax.prefetch.budget_trial import Task, judge, judge_on_test, without_prefetches
from packd_jax.prefetch.choose_policy import BACKLOGS
from packd_jax.prefetch.machine import ML_DPC
from packd_jax.quantize import load_integer_student, load_student
from packd_jax.quantize.cost import DEFAULT, KernelMachine
from packd_jax.run_log import RunLog

LOCAL = dataclasses.replace(
    SMOKE, local_deltas=(2,), embeddings=((1, 1, 1),), widths=(3,), arms=("no_kd",)
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    windows = TraceConfig(train=(0, 5_000), validation=(5_000, 7_000), test=(7_000, 9_000))
    with RunLog(folder) as log:
        yield Task(LOCAL, windows, small_study.source(rows=900), DEFAULT, ML_DPC, folder, log)


@pytest.fixture(scope="module")
def tried(task):
    """The designs of 8 and 4 bits, and their rows."""
    grid = sized(LOCAL, task.source.trace.pc[:500], ML_DPC.degree)
    return grid, [judge(task, one, without_prefetches(task, "validation")) for one in grid]


def test_sizes_are_those_that_were_foreseen(tried):
    for one, row in zip(*tried):
        unused = max(BACKLOGS) - row["policy"]["backlog"]
        assert row["bytes"] == one.bytes - 42 * unused // 8  # 336 bits: whole bytes
        assert row["kernel_cycles"] == one.cycles
        assert row["design"]["weight_bits"] == one.design.weight_bits


def test_designs_that_differ_in_bits_are_trained_once(task, tried):
    assert len(list(task.workdir.glob("trained/*/students/*"))) == 1
    assert tried[1][0]["float_f1"] == tried[1][1]["float_f1"]


def test_a_known_row_is_read(task, tried):
    table = task.workdir / "candidates.jsonl"
    before = table.read_bytes()
    again = judge(task, tried[0][0], without_prefetches(task, "validation"))
    assert again == tried[1][0] and table.read_bytes() == before


def test_a_row_is_of_its_machine_and_trace(task, tried):
    one, row = tried[0][0], tried[1][0]
    none = without_prefetches(task, "validation")
    slow = judge(task._replace(kernel=KernelMachine(layer_cycles=900)), one, none)
    assert slow["id"] != row["id"] and slow["kernel_cycles"] == row["kernel_cycles"] + 2 * 894
    assert slow["f1"] == row["f1"] and slow["speedup"] < row["speedup"]


def test_without_a_compiler_no_header_is_timed(task, tried, monkeypatch):
    monkeypatch.setattr("packd_jax.prefetch.budget_trial.find_compiler", lambda: None)
    one, row = tried[0][0], tried[1][0]
    found = judge_on_test(task, one.design, row, without_prefetches(task, "test"))
    assert found["ns_per_access"] is None
    student, _ = load_student(task.workdir / found["checkpoint"])
    integers, meta = load_integer_student(task.workdir / found["integers"])
    assert student.features == integers.features and meta["design"] == row["design"]
    assert found["test"]["bytes"] == row["bytes"]
    assert {**found, **row} == found


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_a_header_is_timed(task):
    plain = dataclasses.replace(LOCAL, local_deltas=(0,), weight_bits=(8,))
    own = task._replace(config=plain)
    (one,) = sized(plain, task.source.trace.pc[:500], ML_DPC.degree)
    row = judge(own, one, without_prefetches(own, "validation"))
    found = judge_on_test(own, one.design, row, without_prefetches(own, "test"))
    assert found["ns_per_access"] > 0
