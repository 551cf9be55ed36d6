"""Several processes on one machine: equal results, files written once, lost peers, resuming."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_device_mesh import PROGRAM, assert_alike, train

from packd_jax import processes
from packd_jax.config import ConfigError

ROOT = Path(__file__).parents[1]


def test_one_process_waits_for_nobody_and_has_everything():
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert processes.count() == 1 and processes.is_first()
    processes.wait("nowhere")
    np.testing.assert_array_equal(processes.gather(values), values[None])
    assert processes.share(7) == slice(0, 7)
    tree = {"a": values}
    assert processes.local(tree) is tree


@pytest.mark.parametrize(
    ("address", "number", "index"),
    [("127.0.0.1:1", None, 0), ("127.0.0.1:1", 2, None), ("127.0.0.1:1", 2, 2), ("host", 2, 0)],
)
def test_numbers_that_make_no_group_are_refused(address, number, index):
    with pytest.raises(ConfigError, match=r"expected"):
        processes.connect(address, number, index)


def test_errors_that_tell_of_a_lost_peer_are_known():
    assert processes.is_loss(ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer"))
    assert not processes.is_loss(ValueError("shapes (2,) and (3,)"))


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def start(number, command):
    """Processes of one group, each with the flags of its place in it."""
    address = free_address()
    flags = [f"--coordinator={address}", f"--num_processes={number}"]
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command), *flags, f"--process_id={index}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        )
        for index in range(number)
    ]


def ends(group):
    """Exit status and stderr of each process of a group."""
    return [(process.communicate(timeout=120)[1], process.returncode) for process in group]


@pytest.mark.parametrize(("number", "devices", "shards"), [(2, 2, False), (4, 1, True)])
def test_processes_train_as_one(tmp_path, number, devices, shards):
    """From memory, or each from shards of the lanes of its own devices."""
    options = ["--lanes=4", "--steps=120"] if shards else []
    alone = train(tmp_path / "alone.json", *options)
    path = tmp_path / "together.json"
    options += [f"--devices={devices}", *(["--shards"] if shards else [])]
    for error, status in ends(start(number, [PROGRAM, path, *options])):
        assert status == 0, error
    together = json.loads(path.read_text())
    assert (together["processes"], together["devices"]) == (number, number * devices)
    assert_alike(together, alone)


STUDY = [
    *("-m", "experiments.packd", "--config=experiments/configs/packd.py:smoke_tokens"),
    "--config.arms=('marginal','no_kd','packd')",
]


def scores(workdir):
    rows = json.loads((workdir / "results.json").read_text())["rows"]
    return {(row["arm"], row["seed"]): row["f1"] for row in rows}


def test_a_study_survives_the_loss_of_a_process(tmp_path):
    workdir = tmp_path / "together"
    command = [*STUDY, f"--workdir={workdir}"]
    group = start(2, command)
    latest = workdir / "entries" / "tokens_mlp" / "students" / "final-t1" / "latest"
    end = time.monotonic() + 120
    while not latest.exists() and time.monotonic() < end:
        time.sleep(0.05)
    group[1].send_signal(signal.SIGKILL)
    (error, status), _ = ends(group)
    assert status == 3, error
    assert "process 0 of 2: another process has ended" in error
    assert "they go on from the last checkpoint" in error
    for error, status in ends(start(2, command)):
        assert status == 0, error
    alone = tmp_path / "alone"
    subprocess.run([sys.executable, *STUDY, f"--workdir={alone}"], cwd=ROOT, check=True)
    together, expected = scores(workdir), scores(alone)
    assert together.keys() == expected.keys()
    np.testing.assert_allclose(list(together.values()), list(expected.values()), atol=5e-3)
    assert (workdir / "report.html").exists()
