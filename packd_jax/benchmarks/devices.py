"""Strong and weak scaling over CPU devices and processes, as far as the cores allow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax.benchmarks.scales import Scale
from packd_jax.benchmarks.timing import Line, make_line


def devices(scale: Scale, repeats: int) -> Iterator[Line]:
    """The same batch on more devices (strong), and one that grows with them (weak)."""
    yield from _scaling(scale, repeats, "devices", scale.device_counts, by_process=False)


def processes(scale: Scale, repeats: int) -> Iterator[Line]:
    """As `devices`, one device a process; what a step sends over the loopback interface."""
    yield from _scaling(scale, repeats, "processes", scale.process_counts, by_process=True)


def _scaling(
    scale: Scale, repeats: int, what: str, counts: tuple[int, ...], by_process: bool
) -> Iterator[Line]:
    for name in scale.scaled:
        for kind in ("strong", "weak"):
            found: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
            for _ in range(repeats):
                for count in counts:  # in turn: what else the machine does meets all
                    rows = scale.scaled_batch * (count if kind == "weak" else 1)
                    found[count].append(_measure(scale, name, count, rows, by_process))
            for count in counts:
                rate = np.array([one["samples_s"] for one in found[count]])
                title = f"{what} {name}, {kind}, {count}"
                yield make_line(title, "samples/s", rate)
                sent = [one["loopback_bytes_step"] for one in found[count]]
                if by_process and count > 1 and None not in sent:
                    yield make_line(f"{title}, sent", "bytes/step", np.array(sent))


def _measure(scale: Scale, network: str, count: int, rows: int, by_process: bool) -> dict[str, Any]:
    devices = 1 if by_process else count
    command = ["packd_jax.benchmarks.device_steps", network]
    command += map(str, [devices, rows, scale.scaled_steps])
    groups: list[list[str]] = [[]]
    if by_process and count > 1:
        port = _free_port()
        groups = [[str(count), str(index), str(port)] for index in range(count)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *command, *group],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for group in groups
    ]
    ends = [process.communicate() for process in started]
    for process, (_, error) in zip(started, ends):
        if process.returncode:
            raise RuntimeError(f"{command}: {error.strip()[-500:]}")
    found: dict[str, Any] = json.loads(ends[0][0].strip().splitlines()[-1])
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
