"""Collections of several machines, as one dataset whose columns tell the device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latency_jax.collection.dataset import Dataset, read_datasets
from latency_jax.collection.dataset_file import FILE, DatasetError, read_lines
from latency_jax.devices import Device, of_environment, with_device
from latency_jax.table import Table, joined


class DeviceDatasets(NamedTuple):
    """What several machines have measured."""

    tables: dict[str, Table]  # by module kind, with the columns of each row's device
    devices: tuple[Device, ...]
    environments: dict[str, dict[str, Any]]  # by name of the device
    repeatability: dict[str, float | None]  # the same


def by_environment(
    directories: Sequence[str | os.PathLike],
) -> dict[str, list[str | os.PathLike]]:
    """The directories of each environment id, in their order. Raises DatasetError."""
    found: dict[str, list[str | os.PathLike]] = {}
    for directory in directories:
        header, *_ = read_lines(Path(directory) / FILE)
        found.setdefault(header["environment"]["id"], []).append(directory)
    return found


def read_device_datasets(
    directories: Sequence[str | os.PathLike],
    devices: Sequence[Device],
    window_quantile: float | None = None,
) -> DeviceDatasets:
    """Reads collections of several machines; those of one go together as `read_datasets` does.

    A machine is described by one of `devices`, named like its environment id, accelerator or CPU
    model. Raises DeviceError for a machine that none describes, and DatasetError for directories
    that cannot be read, for two environments of one device, and for a kind whose columns differ.
    """
    sets: dict[str, Dataset] = {}
    known: dict[str, Device] = {}
    for of_one in by_environment(directories).values():
        dataset = read_datasets(of_one, window_quantile)
        device = of_environment(dataset.environment, devices)
        if device.name in sets:
            first, second = sets[device.name].environment["id"], dataset.environment["id"]
            raise DatasetError(
                f"{of_one[0]}: environments {first} and {second} are both {device.name!r}, in "
                "other versions or with other settings; fit them apart, or name each in --devices"
            )
        sets[device.name], known[device.name] = dataset, device
    parts: dict[str, list[Table]] = {}
    for name, dataset in sets.items():
        for kind, table in dataset.tables.items():
            parts.setdefault(kind, []).append(with_device(table, known[name]))
    return DeviceDatasets(
        {kind: joined(tables) for kind, tables in parts.items()},
        tuple(known.values()),
        {name: dataset.environment for name, dataset in sets.items()},
        {name: dataset.repeatability for name, dataset in sets.items()},
    )
