import os
import signal
import subprocess
import sys

import pytest
from tiny_collection import WAITING, all_keys, keys, tiny

from latency_jax.collection import fleet_node
from latency_jax.collection.dataset_file import FILE
from latency_jax.collection.fleet_node import CollectorError, NodeCollector, NodeJob
from latency_jax.collection.machine_lock import CPU, MachineBusyError, MachineLock
from packd_jax.config import to_json_dict


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """With locks and temporary files of its own; cores are as before afterwards."""
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("LATENCY_JAX_LOCKS", str(tmp_path))
    monkeypatch.setattr(fleet_node.tempfile, "tempdir", str(tmp_path / "node"))
    monkeypatch.setattr(fleet_node, "_GRACE_S", 0.0)
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)
    assert not list((tmp_path / "node").iterdir())
    MachineLock(CPU, "free again").close()


def collector(config, **about):
    return NodeCollector(NodeJob(to_json_dict(config), (), "desk", **about))


def bring(node, path, at_most=10**9):
    """Appends what comes to `path`; whether the end came."""
    is_end = False
    with path.open("ab") as file:
        while not is_end and path.read_bytes().count(b"\n") < at_most:
            lines, is_end = node.more(path.stat().st_size, 0.05)
            assert lines.endswith(b"\n") or not lines
            file.write(lines)
            file.flush()
    return is_end


def test_killed_and_gone_on_nothing_is_lost_or_doubled(tmp_path):
    node, path = collector(tiny(**WAITING), cores=1), tmp_path / FILE
    found = node.facts()
    assert (found["machine"], found["device"]) == ("desk", "cpu")
    assert found["environment"]["threads"] == 1 and isinstance(found["niceness"], int)
    with pytest.raises(MachineBusyError, match="collects into"):
        MachineLock(CPU, "another")
    node.start(b"")
    assert not bring(node, path, at_most=4)
    node.process.send_signal(signal.SIGKILL)
    with pytest.raises(CollectorError, match="its collector ended with exit status -9"):
        bring(node, path)
    kept = path.read_bytes()
    config = tiny()
    node = collector(config, cores=1)
    assert node.facts()["environment"]["id"] == found["environment"]["id"]
    node.start(kept)
    assert bring(node, path)
    assert node.more(len(kept), 0.05) == (path.read_bytes()[len(kept) :], True)  # asked again
    node.close()
    assert path.read_bytes().startswith(kept)
    assert len(keys(tmp_path)) == 6 and set(keys(tmp_path)) == all_keys(config)


def test_what_the_collector_refuses_is_told(tmp_path):
    node = collector(tiny(), cores=0)
    node.facts()
    node.start(b"no dataset\n")
    with pytest.raises(CollectorError, match=r"exit status 2: .*starts no dataset"):
        bring(node, tmp_path / FILE)


def test_others_are_not_waited_for_and_its_own_fleet_is(tmp_path):
    lock = MachineLock(CPU, "measures", group="ours")
    for fleet in ("", "theirs"):
        with pytest.raises(MachineBusyError, match=f"process {os.getpid()} .measures, since"):
            collector(tiny(), fleet=fleet).facts()
    node = collector(tiny(), fleet="ours")
    release = subprocess.Popen(["sleep", "1"], pass_fds=lock.descriptors)
    lock.close()
    assert node.facts()["machine"] == "desk"
    assert release.wait() == 0
    node.close()


def test_a_gpu_is_named_as_ray_sets_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    for on_gpu, device in ((True, "gpu3"), (False, "cpu")):
        node = collector(tiny(), on_gpu=on_gpu)
        assert node.device == device
        node.close()


def test_a_gpu_that_jax_does_not_see_is_not_measured():
    with pytest.raises(CollectorError, match="desk counts GPUs, but JAX sees none there"):
        collector(tiny(), on_gpu=True).facts()


def test_what_a_killed_collector_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, used = (tmp_path / "node" / f"latency_jax-{pid}-x" for pid in (gone.pid, os.getpid()))
    left.mkdir()
    used.mkdir()
    collector(tiny()).close()
    assert not left.exists() and used.exists()
    used.rmdir()


def test_a_thread_is_bound_to_its_share_of_the_cores():
    cores = sorted(os.sched_getaffinity(0))
    fleet_node._pin(len(cores) - 1, 1)
    assert os.sched_getaffinity(0) == {cores[-1]}
    fleet_node._pin(5, 1)  # that it does not have
    assert os.sched_getaffinity(0) == {cores[-1]}
