"""The command at its smallest size, and that the others take what it leaves."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_study

from packd_jax.export import c_header
from packd_jax.quantize import load_student, quantize_checkpoint
from packd_jax.traces.mldpc import write_trace

ROOT = Path(__file__).parents[1]
WINDOWS = ("--train=0:5_000", "--validation=5000:7000", "--test=7000:9000")


def run(*arguments):
    # Its programs run for less time than they compile.
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return subprocess.run(
        [sys.executable, "-m", "experiments.fit_prefetcher", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    write_trace(folder / "trace.txt", small_study.trace(rows=900))
    return folder


def test_a_search_leaves_what_the_other_commands_take(folder):
    workdir = folder / "out"
    result = run(
        "--smoke",
        f"--trace={folder / 'trace.txt'}",
        f"--workdir={workdir}",
        "--budget_bytes=900",
        "--axis=widths=(3,)",
        "--axis=embeddings=((1,1,1),)",
        "--axis=weight_bits=(8,)",
        "--axis=arms=('no_kd',)",
        *WINDOWS,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((workdir / "budgets.json").read_text())
    (chosen,) = found["chosen"]
    assert chosen["design"]["width"] == 3
    student, meta = load_student(workdir / chosen["checkpoint"])
    assert student.model.width == 3 and meta["config"]["trace"]["train"] == [0, 5000]
    assert result.stdout.splitlines()[-1] == (
        f"900 bytes: --checkpoint={workdir / chosen['checkpoint']}"
    )
    assert "| 900 |" in result.stdout
    assert (workdir / "pareto.png").read_bytes().startswith(b"\x89PNG")
    quantized = quantize_checkpoint(workdir / chosen["checkpoint"])  # as experiments.export does
    assert quantized.rows is not None and quantized.integers.size_bytes < chosen["bytes"]
    assert "STUDENT_LOOK_BACK 3" in c_header(quantized.integers, "student")


MISTAKES = {
    "window": (["--train=5"], "--train=5: expected START:STOP"),
    "order": (["--train=0:9000"], "config.trace.validation = "),
    "numbers": (["--budget_bytes=2k"], "--budget_bytes=2k: expected numbers above 0"),
    "none": (["--budget_bytes="], "--budget_bytes=: expected numbers above 0"),
    "small": (["--budget_bytes=100"], "budget_bytes = 100: the smallest design takes "),
    "quick": (["--budget_cycles=3"], "budget_cycles = 3: the quickest design takes "),
    "axis": (["--axis=width=(3,)"], "axis.width: no such key; did you mean axis.widths?"),
    "argument": (["trace.txt"], "arguments ['trace.txt']: expected flags only"),
    "absent": (["--trace=absent.txt"], "absent.txt: file: "),
}


@pytest.mark.parametrize("arguments, problem", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_said_in_a_line(folder, arguments, problem, monkeypatch):
    from absl import flags
    from absl.testing import flagsaver

    from experiments import command_line, fit_prefetcher

    with flagsaver.flagsaver(), contextlib.redirect_stderr(io.StringIO()) as errors:
        given = ["--smoke", f"--trace={folder / 'trace.txt'}", f"--workdir={folder / 'wrong'}"]
        monkeypatch.setattr(sys, "argv", ["fit_prefetcher.py"])
        argv = flags.FLAGS(["fit_prefetcher.py", *given, *WINDOWS, *arguments])
        assert command_line._call(fit_prefetcher.main, argv) == 2
    said = [line for line in errors.getvalue().splitlines() if line.startswith("fit_prefetcher: ")]
    assert len(said) == 1 and said[0].startswith(f"fit_prefetcher: {problem}"), said
