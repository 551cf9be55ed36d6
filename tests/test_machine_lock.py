import json
import os
import signal
import subprocess
import sys

import pytest

from latency_jax.collection.machine_lock import (
    CPU,
    MachineBusyError,
    MachineLock,
    exclusive,
    measured_device,
)

HOLD = """
import sys, time
from latency_jax.collection.machine_lock import exclusive
with exclusive(sys.argv[1], "collects into there"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENCY_JAX_LOCKS", str(tmp_path))
    return tmp_path


def hold(device, **how):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD, device], **pipes, **how)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_measures(directory):
    with hold(CPU) as other:
        with pytest.raises(MachineBusyError) as caught:
            MachineLock(CPU, "mine")
        assert f"cpu: process {other.pid} (collects into there, since " in str(caught.value)
        assert caught.value.group == ""
        other.stdin.close()
        other.wait()
    with exclusive(CPU, "mine"):
        pass


def test_a_lock_ends_with_its_holder_however_it_ends(directory):
    with hold(CPU) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert json.loads((directory / "latency_jax.cpu.lock").read_text())["pid"] == other.pid
    lock = MachineLock(CPU, "mine", group="ours")
    with pytest.raises(MachineBusyError, match=f"process {os.getpid()} ") as caught:
        MachineLock(CPU, "again")
    assert caught.value.group == "ours"
    lock.close()


def test_accelerators_are_shared_machines_and_cpus_are_not(directory):
    first, second = MachineLock("gpu0", "first"), MachineLock("gpu1", "second")
    with pytest.raises(MachineBusyError, match=r"gpu0: process \d+ \(first"):
        MachineLock("gpu0", "third")
    with pytest.raises(MachineBusyError, match=r"cpu: .*first.*second|cpu: .*second.*first"):
        MachineLock(CPU, "third")
    first.close()
    second.close()
    with exclusive(CPU, "third"), pytest.raises(MachineBusyError, match=r"gpu1: .*\(third"):
        MachineLock("gpu1", "second")


def test_who_inherits_a_lock_has_it_and_keeps_it(directory):
    with exclusive(CPU, "mine") as lock:
        assert not lock.is_inherited
        heir = hold(CPU, env=lock.environment(), pass_fds=lock.descriptors)
    with heir:
        with pytest.raises(MachineBusyError):
            MachineLock(CPU, "again")
        heir.stdin.close()
        heir.wait()
    MachineLock(CPU, "again").close()


def test_variables_without_the_descriptors_are_no_lock(directory):
    with exclusive(CPU, "mine") as lock:
        run = subprocess.run(
            [sys.executable, "-c", HOLD, CPU],
            env=lock.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    assert run.returncode == 1 and f"process {os.getpid()} (mine" in run.stderr


def test_what_cannot_be_read_of_a_holder_does_not_matter(directory):
    with exclusive(CPU, "mine"):
        (directory / "latency_jax.cpu.lock").write_text("{")
        with pytest.raises(MachineBusyError, match="cpu: another process measures"):
            MachineLock(CPU, "again")


def test_every_user_may_lock_it_but_links_are_not_followed(directory):
    MachineLock(CPU, "mine").close()
    for name in ("machine", "cpu"):
        assert (directory / f"latency_jax.{name}.lock").stat().st_mode & 0o777 == 0o666
    (directory / "else").write_text("precious")
    (directory / "latency_jax.gpu0.lock").symlink_to(directory / "else")
    with pytest.raises(OSError, match="symbolic links"):
        MachineLock("gpu0", "mine")
    assert (directory / "else").read_text() == "precious"


def test_devices_have_names(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert measured_device("cpu") == CPU and measured_device("gpu") == "gpu0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert measured_device("gpu") == "gpu3"
