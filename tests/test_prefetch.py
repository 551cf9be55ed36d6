"""The command, end to end: from a trace and a checkpoint to a table and a prefetch file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small_student
import small_study

from packd_jax.prefetch.compare import STUDENTS
from packd_jax.prefetch.mldpc_file import read_prefetch_file
from packd_jax.traces.mldpc import write_trace

ROOT = Path(__file__).parents[1]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.prefetch", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    write_trace(folder / "trace.txt", small_study.trace(rows=900))
    small_student.save(folder / "student", small_student.float_student())
    return f"--trace={folder / 'trace.txt'}", f"--checkpoint={folder / 'student'}"


def test_a_table_and_a_prefetch_file(given, tmp_path):
    out = tmp_path / "new" / "prefetches.txt"
    result = run(
        *given,
        *(f"--workdir={tmp_path / 'work'}", f"--write={out}", "--from_instr=6_000"),
        *("--to_instr=8_500", "--inference_cycles=0,100"),
    )
    assert result.returncode == 0, result.stderr
    stored = json.loads((tmp_path / "work" / "results.json").read_text())
    assert {row["inference_cycles"] for row in stored["rows"]} == {0, 100}
    assert set(STUDENTS) < {row["name"] for row in stored["rows"]}
    tables = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert len(stored["rows"]) == len(tables) - 2
    assert "Inference latency of 100 cycles:" in result.stdout
    written = read_prefetch_file(out)
    assert len(written.instr_id) and (written.instr_id >= 6_000).all()
    assert (written.instr_id < 8_500).all()
    assert f"{out}: {len(written.instr_id):,} prefetches of student_int8" in result.stderr


def test_mistakes_are_said_in_a_line(given, tmp_path):
    result = run(*given, f"--workdir={tmp_path}", "--from_instr=90000")
    assert result.returncode == 2
    assert "--from_instr=90000: expected at most 8990, the last load's" in result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())
