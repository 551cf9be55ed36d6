"""A sweep on a cluster of three nodes: a node is killed, then the driver; no point is lost."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_ray_sweep import same_numbers

from experiments.configs.packd import study
from packd_jax.run_log import RunLog
from packd_jax.sweep import run_sweep

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")

# Ray's processes begin as forks of this one, but are other programs at once.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

ROOT = Path(__file__).parent.parent
RATES = (2e-3, 3e-3, 5e-3, 1e-2, 2e-2)


@pytest.fixture
def cluster():
    """A head that runs no trial and two nodes of a CPU each, which end with the test."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield made
    made.shutdown()


def start(workdir, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.sweep", f"--workdir={workdir}"),
            "--config=experiments/configs/packd.py:smoke_tokens",
            "--config.arms=('no_kd',)",
            "--config.seeds=(0,)",
            f"--axis=entries.tokens_mlp.student_train.learning_rate={RATES}",
            *arguments,
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def until(run, words, count=1):
    """Reads what the driver says up to the `count`-th line with `words`."""
    said = []
    for line in run.stderr:
        said.append(line)
        if sum(words in one for one in said) == count:
            return said
    raise AssertionError(f"{words!r} is not said {count} times in:\n{''.join(said)}")


def attempts(workdir):
    """Nodes that worked at each point, by its trial."""
    found = {}
    for path in (workdir / "trials").glob("*/metrics.jsonl"):
        lines = map(json.loads, path.read_text().splitlines())
        texts = [line["text"] for line in lines if line["stage"] == "note"]
        found[path.parent.name] = [
            text.split(" on node ")[1].split(",")[0] for text in texts if " runs on node " in text
        ]
    return found


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own files and sockets
def test_a_killed_node_and_a_killed_driver_lose_no_point(cluster, tmp_path):
    state = tmp_path / "state"
    arguments = ["--engine=ray", f"--address={cluster.address}", f"--storage={state}"]
    with start(tmp_path, *arguments) as run:
        until(run, ": starts", 2)
        deadline = time.monotonic() + 60
        while not any(attempts(tmp_path).values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        (busy, *_) = [nodes[0] for nodes in attempts(tmp_path).values() if nodes]
        node = next(n for n in cluster.worker_nodes if n.node_id.startswith(busy))
        cluster.remove_node(node, allow_graceful=False)
        until(run, "is tried again")
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        until(run, ": ends on node ", 2)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    before = len((tmp_path / "sweep.jsonl").read_text().splitlines())
    assert 2 <= before < len(RATES)

    with start(tmp_path, *arguments) as run:
        said = run.communicate()[1]
        assert run.returncode == 0, said
    assert f"restored from {state};" in said
    rows = [json.loads(line) for line in (tmp_path / "sweep.jsonl").read_text().splitlines()]
    (field,) = rows[0]["point"]
    assert sorted(row["point"][field] for row in rows) == sorted(RATES)
    tried = attempts(tmp_path)
    assert max(map(len, tried.values())) >= 2 and len(tried) == len(RATES)

    config = dataclasses.replace(study("smoke_tokens"), arms=("no_kd",), seeds=(0,))
    with RunLog(tmp_path / "local") as log:
        points = [{field: rate} for rate in RATES]
        same_numbers(rows, run_sweep(config, points, tmp_path / "local", log))
