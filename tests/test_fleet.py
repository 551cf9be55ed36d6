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
from latency_jax.collection.fleet import FleetError, Place, collect_fleet, places
from latency_jax.collection.fleet_file import read_fleet
from packd_jax.config import ConfigError

ROOT = Path(__file__).parent.parent


def node(name="a", machine="desk", alive=True, labels=None, **resources):
    return {
        "NodeID": name,
        "Alive": alive,
        "NodeManagerHostname": machine,
        "Labels": labels or {},
        "Resources": {"memory": 1e9, **resources},
    }


def test_a_collector_on_each_node_or_gpu():
    nodes = [
        node("head", CPU=0.0),
        node("a", CPU=8.0),
        node("b", "rack", CPU=8.0, GPU=2.0),
        node("c", "gone", alive=False, CPU=8.0),
        node("d", labels={"machine": "shelf"}, CPU=8.0),
    ]
    assert places(nodes) == [
        Place("a", "desk", 8),
        Place("b", "rack", 4, 0, 1),
        Place("b", "rack", 4, 4, 1),
        Place("d", "shelf", 8),
    ]


def test_nodes_that_could_not_be_told_apart_are_refused():
    assert len(places([node("a", CPU=2.0), node("b", CPU=1.0)])) == 2
    with pytest.raises(FleetError, match=r"two nodes named 'desk' .* `ray start --labels=machine="):
        places([node("a", CPU=2.0), node("b", CPU=2.0)])
    with pytest.raises(FleetError, match="no node of the cluster has CPUs"):
        places([node(CPU=0.0)])


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'packd-jax\[ray\]'"):
        collect_fleet(tiny(), tmp_path)


@pytest.fixture
def temporary(monkeypatch):
    """Where nodes keep what they need: a short path, as there are sockets in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


@pytest.fixture
def cluster(temporary, monkeypatch):
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs Ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    small = {"object_store_memory": 80 << 20}
    notices = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}  # lost nodes
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": notices, **small}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    found.add = lambda cpus: found.add_node(num_cpus=cpus, **small)
    yield found
    found.shutdown()


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


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of what Ray leaves to be collected
def test_a_lost_node_and_a_killed_collector_lose_and_double_nothing(cluster, temporary, tmp_path):
    fleet = tmp_path / "fleet"
    nodes = {cpus: cluster.add(cpus) for cpus in (1, 2)}
    with start(fleet, cluster) as run:
        line = wait_for_line(run, "measures on")
        first, cores = re.match(r"(\S+-(\d)c-\S+): ", line).groups()
        wait_for_rows(run, fleet / first / FILE, 3)
        cluster.remove_node(nodes[int(cores)], allow_graceful=False)
        errors = run.stderr.read()
    assert run.returncode == 2, errors
    assert f"unfinished: {first}: its node or its collector was lost" in errors
    assert "The same command goes on" in errors
    (second,) = {path.name for path in fleet.iterdir() if path.is_dir()} - {first}
    config = tiny()
    assert set(keys(fleet / second)) == all_keys(config) and len(keys(fleet / second)) == 6
    kept = [(fleet / first / FILE).read_bytes(), (fleet / second / FILE).read_bytes()]
    assert not collectors(temporary)

    cluster.add(int(cores))
    with start(fleet, cluster) as run:
        wait_for_line(run, f"{first}: measures on")
        while not collectors(temporary):
            time.sleep(0.01)
        for pid in collectors(temporary):
            os.kill(pid, signal.SIGKILL)
        errors = run.stderr.read()
    assert run.returncode == 2, errors
    assert f"unfinished: {first}: its collector ended with exit status -9" in errors

    with start(fleet, cluster) as run:
        errors, told = run.stderr.read(), run.stdout.read()
    assert run.returncode == 0, errors
    assert f"3  {first}: " in told and f"3  {second}: " in told
    found = [(fleet / name / FILE).read_bytes() for name in (first, second)]
    assert found[0].startswith(kept[0]) and found[1] == kept[1]
    assert set(keys(fleet / first)) == all_keys(config) and len(keys(fleet / first)) == 6
    assert {n: d.tables["add"].rows for n, d in read_fleet(fleet).items()} == {first: 3, second: 3}
    for one, other in itertools.product(times(fleet / first), times(fleet / second)):
        assert one[1] < other[0] or other[1] < one[0]  # they share the cores, so they take turns
    assert len(list(temporary.glob("latency_jax-*"))) <= 1  # that of the lost node
