"""Two nodes on this machine, which take turns: one is lost, the other's collector is killed."""

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tiny_collection import all_keys, keys, tiny

from latency_jax.collection.dataset_file import FILE, read_lines
from latency_jax.collection.fleet_file import read_fleet

ROOT = Path(__file__).parent.parent


@pytest.fixture
def temporary(monkeypatch):
    """Where nodes keep what they need: a short path, as there are sockets in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


# A cluster in a process of its own, as Ray forks and JAX runs here. Its head measures nothing.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 80 << 20}
notices = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}  # lost nodes
head = {"num_cpus": 0, "include_dashboard": False, "_system_config": notices, **small}
cluster, nodes = Cluster(initialize_head=True, head_node_args=head), {}
print("address", cluster.address, flush=True)
for line in sys.stdin:
    what, cpus = line.split()
    if what == "add":
        nodes[cpus] = cluster.add_node(num_cpus=int(cpus), **small)
    else:
        cluster.remove_node(nodes[cpus], allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


class Cluster:
    def __init__(self, process):
        self.process = process
        self.address = self.wait_for("address").split()[1]

    def wait_for(self, text):
        return next(line for line in self.process.stdout if line.startswith(text))

    def __call__(self, what, cpus):
        self.process.stdin.write(f"{what} {cpus}\n")
        self.process.stdin.flush()
        self.wait_for("done")


@pytest.fixture
def cluster(temporary, monkeypatch):
    pytest.importorskip("ray", reason="needs Ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", CLUSTER], cwd=ROOT, **pipes) as process:
        yield Cluster(process)
        process.stdin.close()
        process.stdout.read()


COMMAND = """
from experiments import collect_latency, command_line
from latency_jax.collection import fleet
fleet.POLL_S = 0.2
command_line.run(collect_latency.main, fleet.FleetError)
"""


def start(workdir, cluster):
    return subprocess.Popen(
        [
            *(sys.executable, "-c", COMMAND, "--kinds=add"),
            *("--config=experiments/configs/latency.py:smoke", "--config.configurations=3"),
            *("--minutes=30", "--config.repeat_after_minutes=0.05"),
            *("--engine=ray", f"--address={cluster.address}", f"--workdir={workdir}"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def collectors(directory):
    """Process ids of those that run now, by their working directories."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if directory in (process / "cwd").readlink().parents:
                found.append(int(process.name))
        except OSError:
            pass
    return found


def wait_for_rows(run, file, rows):
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_bytes().count(b"\n") <= rows:
        assert run.poll() is None and time.monotonic() < deadline, run.stderr.read()
        time.sleep(0.02)


def wait_for_line(run, text):
    lines = []
    for line in run.stderr:
        if text in line:
            return line
        lines.append(line)
    raise AssertionError("".join(lines))


def times(directory):
    """Unix times of the first and last window of each row."""
    rows = read_lines(directory / FILE).rows
    return [(row["start_s"][0], row["start_s"][-1]) for row in rows]


def test_a_lost_node_and_a_killed_collector_lose_and_double_nothing(cluster, temporary, tmp_path):
    fleet = tmp_path / "fleet"
    cluster("add", 1)
    cluster("add", 2)
    with start(fleet, cluster) as run:
        line = wait_for_line(run, "measures on")
        first, cores = re.match(r"(\S+-(\d)c-\S+): ", line).groups()
        wait_for_rows(run, fleet / first / FILE, 3)
        cluster("remove", cores)
        second = wait_for_line(run, "measures on").partition(":")[0]  # goes on
        wait_for_rows(run, fleet / second / FILE, 3)
        (pid,) = collectors(temporary)
        os.kill(pid, signal.SIGKILL)
        errors = run.stderr.read()
    assert run.returncode == 2, errors
    assert f"{first}: its node or its collector was lost" in errors
    assert f"{second}: its collector ended with exit status -9" in errors
    assert "-c: unfinished: " in errors and "The same command goes on" in errors
    assert not collectors(temporary)
    kept = [(fleet / name / FILE).read_bytes() for name in (first, second)]

    cluster("add", cores)
    with start(fleet, cluster) as run:
        errors, told = run.stderr.read(), run.stdout.read()
    assert run.returncode == 0, errors
    assert f"3  {first}: " in told and f"3  {second}: " in told
    for name, data in zip((first, second), kept):
        assert (fleet / name / FILE).read_bytes().startswith(data)
        assert set(keys(fleet / name)) == all_keys(tiny()) and len(keys(fleet / name)) == 6
    assert {n: d.tables["add"].rows for n, d in read_fleet(fleet).items()} == {first: 3, second: 3}
    for one, other in itertools.product(times(fleet / first), times(fleet / second)):
        assert one[1] < other[0] or other[1] < one[0]  # they share the cores, so they take turns
    assert not list(temporary.glob("latency_jax-*"))
