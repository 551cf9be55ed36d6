"""Devices: what is publicly known of the machines that latencies are measured on.

A descriptor says what a device could do at best. Its numbers become columns of a table, the same
in each row of a device, so that one regressor learns several devices, and is asked about others.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from latency_jax.parameters import check_known

if TYPE_CHECKING:
    from latency_jax.table import Table

NAME = "device"  # the column of names, which no regressor is told
_PREFIX = "device_"


class DeviceError(ValueError):
    """A device that cannot be used: which, what is known of it, and what to say."""


class Device(NamedTuple):
    """What a data sheet says. Every number is above 0."""

    name: str
    flops_per_s: float  # float32 multiplications and additions at best, without tensor cores
    bytes_per_s: float  # of its memory
    cache_bytes: float  # of the last level of cache, L2 on a GPU
    cores: float  # of a CPU; streaming multiprocessors of a GPU
    hertz: float  # boost clock
    memory_bytes: float

    @property
    def columns(self) -> dict[str, float]:
        """By column of a table; all but the name."""
        return {_PREFIX + n: float(v) for n, v in zip(self._fields[1:], self[1:])}  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **{number: float(self._asdict()[number]) for number in NUMBERS}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Device:
        """Raises DeviceError that names the number which is missing, unknown or not positive."""
        name = values.get("name") if isinstance(values, Mapping) else None
        if not isinstance(name, str) or not name:
            raise DeviceError(f"device {values!r}: expected a name and {', '.join(NUMBERS)}")
        unknown, missing = values.keys() - {*cls._fields}, [n for n in NUMBERS if n not in values]
        if unknown or missing:
            problem = f"unknown {', '.join(sorted(unknown))}" if unknown else ""
            problem = problem or f"without {', '.join(missing)}"
            raise DeviceError(f"device {name!r}: {problem}; expected {', '.join(NUMBERS)}")
        for number in NUMBERS:
            value = values[number]
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and 0 < value < math.inf):
                raise DeviceError(f"device {name!r}: {number} = {value!r}; expected more than 0")
        return cls(name, *(float(values[number]) for number in NUMBERS))


NUMBERS = Device._fields[1:]
COLUMNS = tuple(_PREFIX + number for number in NUMBERS)
FLOPS, BYTES, CACHE, CORES = COLUMNS[:4]


def is_told(columns: Iterable[str]) -> bool:
    """Whether columns say what a device can do."""
    return FLOPS in columns


def with_device(table: Table, device: Device) -> Table:
    """The table with the columns of a device in place of those that it has, if any."""
    numbers = {name: np.full(table.rows, number) for name, number in device.columns.items()}
    names = {NAME: np.full(table.rows, device.name)}
    return replace(table, columns={**table.columns, **names, **numbers})


def without_device(table: Table) -> Table:
    """The table without any column of a device."""
    ours = {NAME, *COLUMNS}
    return replace(table, columns={n: c for n, c in table.columns.items() if n not in ours})


def find_device(name: str, devices: Iterable[Device]) -> Device:
    """The first one of that name. Raises ParameterError that names the nearest."""
    by_name = _by_name(devices)
    check_known(name, by_name, "device")
    return by_name[name]


def read_devices(path: str | os.PathLike) -> tuple[Device, ...]:
    """Devices of a JSON file: a list of objects, each with a name and NUMBERS.

    Raises DeviceError that names the file and the device.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise DeviceError(f"{os.fspath(path)}: {error}; expected a JSON list of devices") from None
    if not isinstance(found, list):
        raise DeviceError(f"{os.fspath(path)}: {type(found).__name__}; expected a list of devices")
    try:
        return tuple(Device.from_json(values) for values in found)
    except DeviceError as error:
        raise DeviceError(f"{os.fspath(path)}: {error}") from None


def of_environment(facts: Mapping[str, Any], devices: Sequence[Device]) -> Device:
    """The device of an environment, as latency_jax.environment gives it.

    It is the one named like the environment's id, its accelerator or its CPU model, in this
    order. Raises DeviceError that says what is known of the device, as a start for a file.
    """
    by_name = _by_name(devices)
    is_cpu = facts.get("backend") == "cpu"
    names = [facts.get("id"), facts.get("cpu_model" if is_cpu else "device_kind")]
    for name in names:
        if name in by_name:
            return by_name[name]
    raise DeviceError(
        f"environment {facts.get('id')}: no device of this name or {names[1]!r}; give --devices a "
        f"file like {json.dumps([known_of(facts)])} with numbers for null"
    )


def known_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A descriptor as far as an environment says it; None for what it does not say.

    FLOPs are those of a fused multiply-add in two vector units, as most CPUs have.
    """
    if facts.get("backend") != "cpu":
        return {**dict.fromkeys(Device._fields), "name": facts.get("device_kind")}
    model, threads = str(facts.get("cpu_model")), facts.get("threads")
    gigahertz = model.rpartition("@")[2].strip().removesuffix("GHz")
    hertz = 1e9 * float(gigahertz) if gigahertz.replace(".", "", 1).isdecimal() else None
    flags = str(facts.get("cpu_flags")).split()
    lanes = 16 if "avx512f" in flags else 8 if "fma" in flags else 4
    flops = 4 * lanes * hertz * threads if hertz and threads else None
    known = {"flops_per_s": flops, "cores": threads, "hertz": hertz}
    known |= {"memory_bytes": facts.get("memory_bytes"), "name": facts.get("cpu_model")}
    return {**dict.fromkeys(Device._fields), **known}


def _by_name(devices: Iterable[Device]) -> dict[str, Device]:
    found: dict[str, Device] = {}
    for device in devices:
        found.setdefault(device.name, device)
    return found
