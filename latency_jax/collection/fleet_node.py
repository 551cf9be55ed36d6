"""What a fleet runs on each of its nodes: the lock, one collector process, and its file.

Nothing here knows Ray: `fleet` makes an actor of `NodeCollector`, which lives on the node and has
its cores or its accelerator for itself. It runs `collector` as a process of its own, so that what
measures is as fresh and as undisturbed as what `experiments.collect_latency` starts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from latency_jax.collection.dataset_file import FILE
from latency_jax.collection.machine_lock import (
    CPU,
    MachineBusyError,
    MachineLock,
    is_running,
    measured_device,
)

JOB = "job.json"  # {"config": a CollectConfig as JSON, "register": [modules to import]}
_PREFIX = "latency_jax-"
_GRACE_S = 15.0  # for a collection that was just ended to be gone
_RETRY_S = 0.5
_LOOK_S = 0.2


class CollectorError(RuntimeError):
    """A collector that ended without having finished; says how."""


class NodeJob(NamedTuple):
    """What a node is to do."""

    config: Mapping[str, Any]  # a CollectConfig as JSON
    register: tuple[str, ...]  # modules that the node imports
    machine: str = ""  # its name
    on_gpu: bool = False
    cores: int = 0  # to measure on; 0 for all that the node has
    first_core: int = 0  # of those, counted among the node's
    fleet: str = ""  # whose collectors take turns where they share a machine


class NodeCollector:
    """Measures on one node, or on one GPU of it: `facts`, `start`, `more` until the end, `close`.

    The GPU is that of CUDA_VISIBLE_DEVICES, which Ray sets. A method that raises has closed it.
    """

    def __init__(self, job: NodeJob) -> None:
        self.job, self.grace_s = job, _GRACE_S
        self.device = measured_device("gpu") if job.on_gpu else CPU
        _remove_leftovers()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self.lock: MachineLock | None = None
        self.process: subprocess.Popen | None = None

    def facts(self) -> dict[str, Any]:
        """Where and as what it will measure, once nobody else does.

        Raises MachineBusyError where somebody of another fleet or of none measures here, and
        CollectorError where there is no GPU to measure.
        """
        self._take_the_lock()
        _pin(self.job.first_core, self.job.cores)
        with self._run("--facts", stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told = process.stdout.read()
        if process.returncode:
            raise self._ended(process.returncode)
        environment = json.loads(told)
        if self.job.on_gpu and environment["backend"] == CPU:
            self.close()
            raise CollectorError(
                f"{self.job.machine} counts GPUs, but JAX sees none there; install jax[cuda12] on "
                "it, or start its node with --num-gpus=0"
            )
        return {
            "machine": self.job.machine,
            "device": self.device,
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
            "environment": environment,
        }

    def start(self, data: bytes) -> None:
        """Goes on from `data`, whole lines of the file of earlier measurements."""
        (self.directory / FILE).write_bytes(data)
        job = {"config": self.job.config, "register": self.job.register}
        (self.directory / JOB).write_text(json.dumps(job))
        self.process = self._run()

    def more(self, start: int, wait_s: float) -> tuple[bytes, bool]:
        """The file's whole lines from byte `start` on, after `wait_s` or the end; whether it ended.

        Raises CollectorError where it ended unfinished, but only once nothing is left to be sent.
        """
        assert self.process is not None
        until = time.monotonic() + wait_s
        while self.process.poll() is None and time.monotonic() < until:
            time.sleep(min(_LOOK_S, wait_s))
        code = self.process.poll()
        with (self.directory / FILE).open("rb") as file:
            file.seek(start)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        if code and not lines:
            raise self._ended(code)
        return lines, code == 0

    def close(self) -> None:
        """Ends what it has started."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        if self.lock is not None:
            self.lock.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _take_the_lock(self) -> None:
        until = time.monotonic() + self.grace_s
        purpose = f"collects into {self.job.fleet}"
        while self.lock is None:
            try:
                self.lock = MachineLock(self.device, purpose, self.job.fleet)
            except MachineBusyError as error:
                is_ours = bool(self.job.fleet) and error.group == self.job.fleet
                if not is_ours and time.monotonic() > until:
                    self.close()
                    raise
                time.sleep(_RETRY_S)

    def _run(self, *flags: str, **pipes: Any) -> subprocess.Popen:
        assert self.lock is not None
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        platform = {} if self.job.on_gpu else {"JAX_PLATFORMS": CPU}
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "latency_jax.collection.collector", ".", *flags],
                cwd=self.directory,
                env=os.environ | platform | {"PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stderr=log,
                pass_fds=self.lock.descriptors,  # nobody else measures before it has ended
                **pipes,
            )

    def _ended(self, code: int) -> CollectorError:
        lines = (self.directory / "log").read_text(errors="replace").strip().splitlines()
        self.close()
        said = lines[-1] if lines else "silent"
        return CollectorError(f"its collector ended with exit status {code}: {said}")


def _remove_leftovers() -> None:
    """Of collectors that were killed: Ray ends them so where their driver or their node ends."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _pin(first: int, cores: int) -> None:
    """Binds this thread, and what it starts, to cores; undoes the niceness that Ray gives."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        chosen = usable[first : first + cores] if cores else usable
        os.sched_setaffinity(0, chosen or usable)
    with suppress(PermissionError):  # only root may
        os.setpriority(os.PRIO_PROCESS, 0, 0)
