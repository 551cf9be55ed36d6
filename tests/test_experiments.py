"""Every experiment from the command line at smoke size, and what a mistake looks like."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from experiment_command import command

ROOT = Path(__file__).parent.parent
SMOKE = "--config=experiments/configs/packd.py:smoke"
TOKENS = SMOKE + "_tokens"


def test_packd(tmp_path):
    run = command(
        "packd", SMOKE, f"--workdir={tmp_path}", "--config.arms=('marginal','no_kd','kd')"
    )
    found = json.loads((tmp_path / "results.json").read_text())
    assert {row["arm"] for row in found["rows"]} == {"marginal", "no_kd", "kd"}
    assert "kd - no_kd" in run.stdout and "validation chose" in run.stdout
    assert "<table" in (tmp_path / "report.html").read_text()


def test_packd_reads_a_given_trace(tmp_path):
    lines = [
        f"{i * 20}, {i * 30}, {0x10000 + 64 * (i % 97):x}, {0x400 + i % 3:x}, {i % 2}"
        for i in range(3000)
    ]
    trace = tmp_path / "some.txt"
    trace.write_text("\n".join(lines) + "\n")
    command(
        "packd",
        TOKENS,
        f"--trace={trace}",
        f"--workdir={tmp_path / 'run'}",
        "--config.arms=('no_kd',)",
    )
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["trace"]["path"] == str(trace) and found["trace"]["trace_rows"] == 3000


def test_sweep_goes_on_where_it_stopped(tmp_path):
    arguments = [
        "sweep",
        TOKENS,
        f"--workdir={tmp_path}",
        "--config.arms=('no_kd',)",
        "--config.seeds=(0,)",
        "--axis=entries.tokens_mlp.student_train.learning_rate=(3e-3,1e-2)",
    ]
    command(*arguments)
    rows = (tmp_path / "sweep.jsonl").read_text()
    assert len(rows.splitlines()) == 2
    (tmp_path / "sweep.jsonl").write_text(rows + '{"torn": ')
    front = command(*arguments, "--cost=params").stdout
    assert (tmp_path / "sweep.jsonl").read_text() == rows
    assert "val. F1" in front and "<svg" in (tmp_path / "front.svg").read_text()


def test_kd_map(tmp_path):
    arguments = [f"--workdir={tmp_path}", "--config.seeds=(0,1)", "--config.teacher_seeds=1"]
    small = "--config.trace.workload.scale=12 --config.trace.workload.instructions=300000"
    windows = "--config.trace.unit=percent --config.trace.train=(5,65)"
    later = "--config.trace.validation=(65,80) --config.trace.test=(80,100)"
    steps = "--config.entries.tokens_mlp.student_train.steps=10 --rows=300,0"
    sizes = "--teacher_steps=5 --widths=2"
    quick = "--config.entries.tokens_mlp.teacher_train.evaluations=2"
    flags = f"{small} {windows} {later} {steps} {sizes} {quick}".split()
    shown = command("kd_map", *arguments, *flags).stdout
    found = json.loads((tmp_path / "map.json").read_text())["map"]
    assert {(d["rows"], d["width"]) for d in found} == {(300, 2), (0, 2)}
    assert "pk - kd_budget" in shown


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--config.trace.uint=rows"], "uint"),
        (["--config=experiments/configs/packd.py:nope"], "expected one of quick"),
        (["--config.trace.unit=weeks"], "instructions, rows or percent"),
        (["--trace=/does/not/exist"], "/does/not/exist"),
        (["some.txt"], "--trace=some.txt"),
        (["--tracee=x"], "tracee"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, told):
    run = command("packd", *arguments, f"--workdir={tmp_path}", expect=2)
    errors = [line for line in run.stderr.splitlines() if not line.startswith("trace:")]
    assert len(errors) == 1 and errors[0].startswith("packd: ") and told in errors[0]


def test_searches_of_ray_are_no_searches_of_this_process(tmp_path):
    for flag in ("--search=optuna", "--scheduler=asha"):
        axis = "--axis=seeds=((0,),)"
        told = command("sweep", TOKENS, axis, flag, f"--workdir={tmp_path}", expect=2).stderr
        assert told == "sweep: --search=optuna and --scheduler=asha need --engine=ray\n"
    both = "--engine=ray", "--search=optuna", "--random=3"
    told = command("sweep", TOKENS, axis, *both, f"--workdir={tmp_path}", expect=2).stderr
    assert told.startswith("sweep: --random draws points of the grid; with --search=optuna set")


@pytest.mark.parametrize("name", ["packd", "sweep"])
def test_a_command_imports_no_library_that_few_of_them_need(name):
    """Each takes a second, which every mistake would wait for."""
    few = "{'matplotlib', 'sklearn', 'ray', 'optuna'}"
    shown = f"import sys, experiments.{name}; print({few} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


def test_describe_trace(tmp_path):
    trace = tmp_path / "two.txt"
    trace.write_text("1, 1, 1000, 40, 1\n9, 9, 1040, 44, 0\n12, 12, 901000, 44, 0\n")
    line = command("describe_trace", trace).stdout.splitlines()[1].split()
    assert line == ["3", "12", "0.333", "0.500", "2", str(trace)]
    recorded = command("describe_trace", SMOKE).stdout.splitlines()
    assert len(recorded) == 2 and "scale 12" in recorded[1]
