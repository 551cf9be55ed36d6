"""Background load on the cores (or the GPU) that are measured: requested, and achieved."""

from __future__ import annotations

import math
import mmap
import os
import selectors
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_READY_SECONDS = 60.0
_END_SECONDS = 10.0


class Load(NamedTuple):
    """Shares of the measured cores (of the GPU) that other processes keep busy, 0 to 1."""

    cpu_utilization: float = 0.0  # by arithmetic in the first cache
    memory_pressure: float = 0.0  # by copies from and to main memory


class LoadError(RuntimeError):
    """Background load that could not be started or did not last; says of which worker and why."""


class LoadReading(NamedTuple):
    """What the workers had done by a moment."""

    time_s: float
    compute_s: float  # busy seconds, summed over workers
    memory_s: float


class BackgroundLoad:
    """Keeps `requested` going while its `with` block runs; the workers end with it.

    On CPUs each of `cores` gets one worker per kind of load, which wants the core for the
    requested share of every 10 ms; what it gets, beside the measured process, is `achieved`.
    On GPUs one worker per kind runs products or copies for that share of the time. Workers
    watch a pipe to this process, so they end when it is killed as well. Entering waits until
    all of them are at work and raises LoadError where one is not.
    """

    def __init__(self, requested: Load, cores: Sequence[int], on_gpu: bool = False) -> None:
        for name, share in requested._asdict().items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} = {share!r}: expected a share between 0 and 1")
        if requested != Load() and not on_gpu and not hasattr(os, "sched_setaffinity"):
            raise LoadError(
                f"{requested} was requested: background load needs Linux, whose processes can be "
                "bound to a core; fix cpu_utilization and memory_pressure at 0 here"
            )
        self.requested = requested
        self._cores: Sequence[int | None] = [None] if on_gpu else cores
        self._prefix = "gpu_" if on_gpu else ""
        self._workers: dict[str, list[_Worker]] = {"compute": [], "memory": []}

    def __enter__(self) -> BackgroundLoad:
        try:
            for kind, share in zip(self._workers, self.requested, strict=True):
                for core in self._cores if share else ():
                    worker = _Worker(self._prefix + kind, share, core)
                    self._workers[kind].append(worker)
            deadline = time.monotonic() + _READY_SECONDS
            for worker in self._all():
                worker.wait_until_ready(deadline)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self) -> LoadReading:
        """What the workers have done so far. Raises LoadError where one has ended."""
        for worker in self._all():
            worker.check()
        compute, memory = (sum(w.busy_s() for w in group) for group in self._workers.values())
        return LoadReading(time.monotonic(), compute, memory)

    def achieved(self, *windows: tuple[LoadReading, LoadReading]) -> Load:
        """The mean load over windows, each from one reading to a later one."""
        time_s = sum(last.time_s - first.time_s for first, last in windows) * len(self._cores)
        compute = sum(last.compute_s - first.compute_s for first, last in windows)
        memory = sum(last.memory_s - first.memory_s for first, last in windows)
        return Load(
            *(min(busy / time_s, 1.0) if time_s else math.nan for busy in (compute, memory))
        )

    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._all()]

    def _all(self) -> list[_Worker]:
        return [worker for group in self._workers.values() for worker in group]

    def _end(self) -> None:
        for worker in self._all():
            worker.end()
        self._workers = {kind: [] for kind in self._workers}


class _Worker:
    """One `python -m latency_jax.measuring.load_worker`: its process, its pipes, its meter."""

    def __init__(self, kind: str, share: float, core: int | None) -> None:
        self._name = f"load worker ({kind}, core {'any' if core is None else core})"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        with tempfile.TemporaryFile() as meter:
            meter.truncate(8)
            self._meter = mmap.mmap(meter.fileno(), 8)
            command = [sys.executable, "-m", "latency_jax.measuring.load_worker", f"--kind={kind}"]
            command += [f"--share={share}", f"--meter={meter.fileno()}"]
            self.process = subprocess.Popen(
                command + ([] if core is None else [f"--core={core}"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_worker_environment(),
                pass_fds=[meter.fileno()],
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends them
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._alive, self._ready = self.process.stdin, self.process.stdout

    def wait_until_ready(self, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ready, selectors.EVENT_READ)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise LoadError(f"{self._name} was not at work after {_READY_SECONDS:.0f} s")
        if not self._ready.readline():  # its end, not "ready"
            self.process.wait(_END_SECONDS)
            self.check()

    def check(self) -> None:
        code = self.process.poll()
        if code is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            raise LoadError(
                f"{self._name} ended with exit status {code}: {lines[-1] if lines else 'silent'}; "
                "what was measured beside it does not count"
            )

    def busy_s(self) -> float:
        return struct.unpack_from("d", self._meter)[0]

    def end(self) -> None:
        self._alive.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._ready.close()
        self._errors.close()
        self._meter.close()


def _worker_environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    # A worker is one core's load; one on a GPU must not take all its memory.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return os.environ | threads | {"PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
