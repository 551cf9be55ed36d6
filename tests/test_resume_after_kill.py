"""SIGKILL at any stage, then the same command: the same bits as without the kill."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from packd_jax.checkpoints import restore_checkpoint

ROOT = Path(__file__).parent.parent
STAGES = ("teachers packd-", "soft targets packd-", "students final", "teachers kd_budget")


def start(workdir):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.packd", f"--workdir={workdir}"),
            "--config=experiments/configs/packd.py:smoke_tokens",
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def finish(workdir):
    with start(workdir) as run:
        told = run.stderr.read()
        assert run.wait() == 0, told


def parameters(workdir):
    found = {}
    for path in sorted(Path(workdir, "checkpoints").glob("*/*/seed_*")):
        tree, _ = restore_checkpoint(path)
        for layer, leaves in tree["params"].items():
            for name, leaf in _flat(leaves):
                found[path.parent.name, path.name, layer, name] = np.asarray(leaf)
    return found


def _flat(tree, where=""):
    if not isinstance(tree, dict):
        return [(where, tree)]
    return [pair for key, value in tree.items() for pair in _flat(value, f"{where}/{key}")]


def test_killed_runs_end_with_the_same_parameters(tmp_path):
    finish(tmp_path / "whole")
    killed, draw = 0, random.Random(5)
    for stage in STAGES:
        with start(tmp_path / "killed") as run:
            for line in run.stderr:
                if line.startswith(stage):
                    time.sleep(draw.uniform(0, 0.4))
                    break
            run.send_signal(signal.SIGKILL)
            killed += run.wait() == -signal.SIGKILL
    assert killed >= 3
    finish(tmp_path / "killed")
    expected, found = parameters(tmp_path / "whole"), parameters(tmp_path / "killed")
    assert len(expected) > 50 and found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].tobytes() == value.tobytes(), key
