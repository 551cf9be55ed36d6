"""One collection at a time on a machine: what measures beside another measures that other too.

Who measures on CPUs has the machine for itself. Who measures on an accelerator has that
accelerator for itself, and the machine together with those who measure on its others. The locks
are the kernel's, on files in /tmp: they end with the last process that holds them, however it
ends, so none is ever stale; what is written in the files only says whose they are. Containers
with a /tmp of their own do not see each other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows, where two collections at once are not noticed
    fcntl = None  # type: ignore[assignment]

CPU = "cpu"
_DIRECTORY = "LATENCY_JAX_LOCKS"  # where the files are, if not in /tmp, whatever TMPDIR says
_HELD = "LATENCY_JAX_HELD"  # tells a process which descriptors of a lock it has inherited


class MachineBusyError(RuntimeError):
    """Somebody else measures here; `group` is the fleet that he belongs to, if any."""

    def __init__(self, message: str, group: str = "") -> None:
        super().__init__(message, group)
        self.message, self.group = message, group

    def __str__(self) -> str:
        return self.message


class MachineLock:
    """The right to measure on `device` ("cpu", "gpu0", ...), until `close` or the process ends.

    Raises MachineBusyError where somebody else has it; `purpose` and `group` are what he is told.
    Processes that are started with `descriptors` passed on keep the lock as long as they run.
    """

    def __init__(self, device: str, purpose: str, group: str = "") -> None:
        inherited = _inherited(device)
        self.is_inherited = inherited is not None
        self.descriptors: list[int] = inherited or []
        if inherited is not None or fcntl is None:
            return
        try:
            for name in ("machine", device):
                shared = name == "machine" and device != CPU
                self.descriptors.append(_open(_path(name)))
                how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(self.descriptors[-1], how | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise _busy(device) from None
        except BaseException:
            self.close()
            raise
        about = {"pid": os.getpid(), "purpose": purpose, "group": group, "start_s": time.time()}
        os.ftruncate(self.descriptors[-1], 0)
        os.pwrite(self.descriptors[-1], json.dumps(about).encode(), 0)

    def environment(self) -> dict[str, str]:
        """The variables for a program that replaces this process and is to keep the lock."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, True)
        return {**os.environ, _HELD: ",".join(map(str, self.descriptors))}

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


@contextmanager
def exclusive(device: str, purpose: str) -> Iterator[MachineLock]:
    """Holds the lock of `device`, also one that this process inherited. MachineBusyError."""
    lock = MachineLock(device, purpose)
    try:
        yield lock
    finally:
        lock.close()


def measured_device(backend: str) -> str:
    """The name of the device that JAX's `backend` measures on in this process: its first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return CPU if backend == CPU else f"{backend}{visible or 0}"


def _path(name: str) -> Path:
    return Path(os.environ.get(_DIRECTORY) or "/tmp") / f"latency_jax.{name}.lock"


def _open(path: Path) -> int:
    """A descriptor of a file that every user of the machine may lock and write."""
    plain = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:  # Linux lets nobody open a file of somebody else's in /tmp with O_CREAT
            return os.open(path, plain)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(path, plain | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        os.fchmod(descriptor, 0o666)  # whatever the umask says
        return descriptor


def _inherited(device: str) -> list[int] | None:
    """The descriptors of a lock of the device that this process was started with."""
    try:
        descriptors = [int(text) for text in os.environ.get(_HELD, "").split(",")]
        found, wanted = os.fstat(descriptors[-1]), os.stat(_path(device))
    except (ValueError, OSError):
        return None
    same = (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
    return descriptors if same and len(descriptors) == 2 else None


def _busy(device: str) -> MachineBusyError:
    paths = _path("*").parent.glob(_path("*").name) if device == CPU else map(_path, (CPU, device))
    holders = [about for about in map(_holder, paths) if about]
    told = ", ".join(
        f"process {h['pid']} ({h['purpose']}, since {time.ctime(h['start_s'])})" for h in holders
    )
    return MachineBusyError(
        f"{device}: {told or 'another process'} measures on this machine, and each would measure "
        "the other; wait for it or end it, then start the same command again",
        holders[0]["group"] if holders else "",
    )


def _holder(path: Path) -> dict[str, Any] | None:
    """What the file says of its holder, if he still runs."""
    try:
        about = json.loads(path.read_text())
        found = {name: about[name] for name in ("pid", "purpose", "group", "start_s")}
        return found if is_running(found["pid"]) and time.ctime(found["start_s"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_running(pid: int) -> bool:
    """Whether there is such a process, of whomever."""
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is somebody else's
        return True
    except OSError:
        return False
    return True
