"""The command at smoke size: what it leaves, what a mistake looks like, and SIGKILL."""

import doctest
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.configs.latency import CONFIGS, drawn, get_config
from latency_jax import modules
from latency_jax.collection.dataset import read_dataset
from latency_jax.collection.dataset_file import FILE, read_lines
from latency_jax.collection.machine_lock import CPU, exclusive
from latency_jax.config import read_config

ROOT = Path(__file__).parent.parent
MODULE = "experiments.collect_latency"
SMOKE = "--config=experiments/configs/latency.py:smoke"
WITH_LOAD = (
    SMOKE,
    "--kinds=add,activation",
    "--minutes=30",  # so that not time, but the number of configurations ends it
    "--config.configurations=16",
    "--config.repeat_after_minutes=0",
    "--config.conditions.cpu_utilization=0.2,0.4",
    "--config.conditions.batch_size=1:4",
)


def start(workdir):
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, *WITH_LOAD, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(workdir):
    file = workdir / FILE
    return file.read_bytes().count(b"\n") if file.exists() else 0


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_load_worker(pid):
    """Whether the process runs: one that has ended shows no command line."""
    try:
        return b"latency_jax.measuring.load_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(workers):
    deadline = time.monotonic() + 120
    while any(map(is_load_worker, workers)):
        assert time.monotonic() < deadline, "workers still run after 120 s"
        time.sleep(0.01)


def test_killed_collections_lose_and_double_nothing(tmp_path):
    draw, workers, kept = random.Random(3), set(), []
    for moment in ("at work", "row"):
        before, now = lines(tmp_path), set()
        with start(tmp_path) as run:
            while not (now if moment == "at work" else lines(tmp_path) > max(before, 1)):
                assert run.poll() is None, run.stderr.read()
                now.update(filter(is_load_worker, children(run.pid)))
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.5))
            now.update(filter(is_load_worker, children(run.pid)))
            run.send_signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
        assert now
        workers.update(now)
        wait_until_gone(workers)
        if lines(tmp_path):
            rows = read_lines(tmp_path / FILE).rows
            assert rows[: len(kept)] == kept
            kept = rows
    with start(tmp_path) as run:
        told, errors = run.communicate()
    assert run.returncode == 0, errors
    rows = read_lines(tmp_path / FILE).rows
    assert rows[: len(kept)] == kept
    found = [(row["config"]["kind"], row["number"], row["repeat"]) for row in rows]
    firsts = {(kind, number, 0) for kind in ("add", "activation") for number in range(16)}
    seconds = {(kind, number, 1) for kind, number, _ in firsts}
    assert len(found) == len(set(found)) and set(found) == firsts | seconds
    dataset = read_dataset(tmp_path)
    assert [table.rows for table in dataset.tables.values()] == [16, 16]
    loads = dataset.tables["add"].columns["cpu_utilization"]
    assert set(loads) == {0.2} or set(loads) == {0.4}  # as requested, where it is one
    assert "32  configurations" in told and "of 32 pairs within" in told
    stored = json.loads((tmp_path / "collection.json").read_text())
    assert stored["pairs"] == 32 and stored["repeatability"] == dataset.repeatability


# After twenty measurements the command starts itself anew.
IN_PARTS = """
from experiments import collect_latency, command_line
collect_latency.AT_ONCE = 20
command_line.run(collect_latency.main)
"""


def test_a_kind_of_ones_own_is_measured_and_memory_is_freed_by_a_new_process(tmp_path):
    (tmp_path / "own_kinds.py").write_text(
        "".join(e.source for e in doctest.DocTestParser().get_examples(modules.__doc__))
    )
    run = command(
        SMOKE,
        "--register=own_kinds",
        "--kinds=group_norm",
        "--minutes=30",
        "--config.repeat_after_minutes=0",
        f"--workdir={tmp_path}",
        what=("-c", IN_PARTS),
        expect=0,
        path=tmp_path,
    )
    assert run.stderr.count("started, ") >= 2
    rows = read_lines(tmp_path / FILE).rows
    assert sorted((row["number"], row["repeat"]) for row in rows) == [
        (number, repeat) for number in range(12) for repeat in (0, 1)
    ]
    assert run.stdout.count("repeatability") == 1 and "12  group_norm" in run.stdout


def command(*arguments, what=("-m", MODULE), expect, path=""):
    run = subprocess.run(
        [sys.executable, *what, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == expect, run.stderr
    return run


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("--kinds=dence", "did you mean 'dense'"),
        ("--address=127.0.0.1:6379", "--address=127.0.0.1:6379: is for --engine=ray"),
        ("--register=no_kinds", "--register=no_kinds: No module named 'no_kinds'"),
        ("--config=experiments/configs/latency.py:no", "expected one of default, quick, fast"),
    ],
)
def test_mistakes_are_one_line(tmp_path, mistake, told):
    run = command(SMOKE, mistake, f"--workdir={tmp_path / 'run'}", expect=2)
    assert told in run.stderr and run.stderr.count("\n") == 1
    assert run.stderr.startswith("collect_latency: ")
    assert not (tmp_path / "run").exists()


def test_two_collections_do_not_measure_on_one_machine(tmp_path):
    with exclusive(CPU, "a test"):
        run = command(SMOKE, f"--workdir={tmp_path / 'run'}", expect=2)
    assert f"cpu: process {os.getpid()} (a test, since " in run.stderr
    assert run.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_reads_a_named_config_as_it_stands(name):
    assert read_config(drawn(get_config(name))) == CONFIGS[name]


def test_kinds_on_the_command_line_keep_what_the_config_says_of_them(tmp_path):
    models = "--config=experiments/configs/latency.py:models"
    small = ("--config.mode=fast", "--config.configurations=4", "--config.size_limit=0.001")
    only = ("--kinds=conv2d,add", "--config.repeat_after_minutes=0")
    command(models, *small, *only, f"--workdir={tmp_path}", expect=0)
    dataset = read_dataset(tmp_path)
    assert set(dataset.tables) == {"conv2d", "add"}
    assert dataset.tables["conv2d"].columns["groups"].tolist() == [1] * 4
    assert set(dataset.tables["conv2d"].columns["batch_size"]) <= {1, 2, 4, 8}
