import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latency_jax.measuring.load import BackgroundLoad, Load, LoadError

ROOT = Path(__file__).parent.parent
CORE = min(os.sched_getaffinity(0))
PARENT = """
import sys, time
from latency_jax.measuring.load import BackgroundLoad, Load
try:
    with BackgroundLoad(Load(0.1, 0.1), cores=[int(sys.argv[1])]) as load:
        print(*load.pids(), flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # ended, and its parent gone before it asked


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "still not so after 30 s"
        time.sleep(0.02)


def _start_parent() -> tuple[subprocess.Popen, list[int]]:
    command = [sys.executable, "-c", PARENT, str(CORE)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(_is_running, pids))
    return parent, pids


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_no_worker(sent):
    parent, pids = _start_parent()
    parent.send_signal(sent)
    assert parent.wait(30) == -sent
    parent.stdout.close()
    _wait_until(lambda: not any(map(_is_running, pids)))


def test_ctrl_c_ends_the_workers_before_the_parent_goes_on():
    parent, pids = _start_parent()
    parent.send_signal(signal.SIGINT)
    assert parent.stdout.readline() == "interrupted\n"
    assert not any(map(_is_running, pids))
    assert parent.wait(30) == 0
    parent.stdout.close()


def test_load_is_achieved_on_the_cores_that_were_named():
    requested = Load(cpu_utilization=0.3, memory_pressure=0.2)
    with BackgroundLoad(requested, cores=[CORE]) as load:
        pids = load.pids()
        first = load.read()
        _wait_until(lambda: min(load.read()[1:]) > max(first[1:]) + 0.01)
        achieved = load.achieved((first, load.read()))
        assert all(os.sched_getaffinity(pid) == {CORE} for pid in pids)
    assert 0 < achieved.cpu_utilization <= 1
    assert 0 < achieved.memory_pressure <= 1
    assert not any(map(_is_running, pids))


def test_what_workers_have_done_never_becomes_less():
    with BackgroundLoad(Load(cpu_utilization=1.0), cores=[CORE]) as load:
        deadline, before = time.monotonic() + 1, 0.0
        while time.monotonic() < deadline:
            for _ in range(1000):
                now = load.read().compute_s
                assert now >= before
                before = now
    assert before > 0


def test_a_crash_ends_the_workers():
    with pytest.raises(ZeroDivisionError), BackgroundLoad(Load(0.1), cores=[CORE]) as load:
        pids = load.pids()
        assert len(pids) == 1 and _is_running(pids[0])
        raise ZeroDivisionError
    assert not _is_running(pids[0])


def test_no_load_needs_no_worker():
    with BackgroundLoad(Load(), cores=[CORE]) as load:
        assert load.pids() == []
        first = load.read()
        assert load.achieved((first, first._replace(time_s=first.time_s + 1))) == Load(0.0, 0.0)


def test_readings_are_averaged_over_windows_and_cores():
    load = BackgroundLoad(Load(0.5, 0.5), cores=[0, 1])
    reading = load.read()
    one = reading._replace(time_s=0.0, compute_s=0.0, memory_s=0.0)
    windows = [
        (one, one._replace(time_s=1.0, compute_s=1.0, memory_s=0.2)),
        (one._replace(time_s=5.0, compute_s=7.0), one._replace(time_s=6.0, compute_s=8.5)),
    ]
    assert load.achieved(*windows) == pytest.approx(Load(2.5 / 4, 0.2 / 4))


def test_a_worker_that_ended_is_an_error():
    with BackgroundLoad(Load(0.1), cores=[CORE]) as load:
        os.kill(load.pids()[0], signal.SIGKILL)
        with pytest.raises(LoadError, match=r"compute, core \d+\) ended with exit status -9"):
            _wait_until(lambda: load.read() is None)


def test_a_core_that_is_not_there_is_an_error_with_its_reason():
    load = BackgroundLoad(Load(0.1), cores=[CORE, 9999])
    with pytest.raises(
        LoadError, match=r"core 9999\) ended with exit status 1: OSError: .*Invalid"
    ):
        load.__enter__()
    assert load.pids() == []


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_lie_between_0_and_1(share):
    with pytest.raises(ValueError, match=r"memory_pressure = .*between 0 and 1"):
        BackgroundLoad(Load(0.0, share), cores=[CORE])


def test_workers_start_fast_without_jax():
    code = "import sys, latency_jax.measuring.load_worker; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
