"""The command: so many loads, the same ones again, and mistakes in a line."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from packd_jax.traces.read_trace import read_trace

ROOT = Path(__file__).parent.parent
SMALL = ("--scale=10", "--instructions=100_000", "--kernels=pr,cc")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.record_trace", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_so_many_loads_are_written(tmp_path):
    done = command(f"--out={tmp_path}/a.txt.gz", "--loads=9_000", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"9,000 loads in {tmp_path}/a.txt.gz\n"
    assert "record: done, 9,000 of 9,000" in done.stderr
    trace = read_trace(tmp_path / "a.txt.gz")
    assert trace.rows == 9_000 and trace.instr_id[-1] > 100_000
    again = command(f"--out={tmp_path}/b.txt", "--loads=9_000", *SMALL)
    assert again.returncode == 0, again.stderr
    for column, same in zip(trace, read_trace(tmp_path / "b.txt")):
        np.testing.assert_array_equal(column, same)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt.gz", "b.txt"]


def test_mistakes_are_told_in_a_line(tmp_path):
    for arguments, said in {
        (f"--out={tmp_path}/a.csv", "--loads=9"): "expected a name that ends in .txt, .gz, .xz",
        (f"--out={tmp_path}/a.gz", "--loads=9", "--kernels=dfs"): "expected one of ('bfs', 'pr'",
        (f"--out={tmp_path}/none/a.gz", "--loads=9", *SMALL): "cannot be written (No such file",
        (f"--out={tmp_path}/a.gz",): "Flag --loads must have a value other than None",
    }.items():
        done = command(*arguments)
        assert done.returncode == 2 and said in done.stderr and not done.stdout, done.stderr
        assert done.stderr.startswith("record_trace: ")
    assert not list(tmp_path.iterdir())
