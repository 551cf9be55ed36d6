"""The flags by which commands are told of measured latencies, and what these flags say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from latency_jax.collection.dataset import Dataset, read_datasets
from latency_jax.collection.device_datasets import by_environment, read_device_datasets
from latency_jax.csv_table import column_texts, read_csv_table
from latency_jax.devices import (
    Device,
    DeviceError,
    find_device,
    of_environment,
    read_devices,
    with_device,
)
from latency_jax.known_devices import KNOWN
from latency_jax.table import Table, joined
from packd_jax.config import ConfigError

DATA = flags.DEFINE_list(
    "data", None, "directories of one or more datasets, or a CSV file", required=True
)
WINDOW_QUANTILE = flags.DEFINE_float(
    "window_quantile", None, "another one of a dataset's windows to be the latency", 0.0, 1.0
)
KIND = flags.DEFINE_string("kind", None, "CSV: the module kind, or generic")
COLUMNS = flags.DEFINE_list("columns", [], "CSV: PARAMETER=COLUMN of every input")
VALUES = flags.DEFINE_list("values", [], "CSV: PARAMETER.TEXT=VALUE, what a text there means")
WHERE = flags.DEFINE_list("where", [], "CSV: COLUMN=TEXT that rows must have")
TARGET = flags.DEFINE_list("target", [], "CSV: the column of latencies; several are added")
UNIT = flags.DEFINE_enum("unit", "ms", ["s", "ms", "us"], "CSV: what latencies are in")
DEVICE_COLUMN = flags.DEFINE_string("device_column", None, "CSV: the column of devices, if several")
DEVICE_NAMES = flags.DEFINE_list("device_names", [], "CSV: which of these; without any, all")
DEVICE = flags.DEFINE_string("device", None, "the one device of the data, where it is described")
DEVICES = flags.DEFINE_string("devices", None, "a JSON list of descriptors of your devices")


class Data(NamedTuple):
    """What the flags tell of."""

    tables: dict[str, Table]  # by module kind
    about: dict[str, Any]  # what is to be remembered
    dataset: Dataset | None  # of one machine; None for a file and for several machines
    devices: tuple[Device, ...]  # that columns of the tables tell; none for one machine
    device: Device | None  # the one machine, where it is described

    @property
    def environment(self) -> dict[str, Any]:
        return {} if self.dataset is None else self.dataset.environment


def read_data() -> Data:
    """Reads --data. Raises ConfigError, CsvTableError, DatasetError, DeviceError, TableError."""
    paths = [Path(path) for path in DATA.value]
    if paths[0].is_dir():
        return _directories(paths)
    if len(paths) > 1:
        raise ConfigError(f"--data={','.join(map(str, paths))}: several must all be directories")
    if not paths[0].is_file():
        raise ConfigError(f"--data={paths[0]}: no such file or directory")
    if not (KIND.value and COLUMNS.value and TARGET.value):
        raise ConfigError(f"--data={paths[0]} is a file: expected --kind, --columns and --target")
    return _file(paths[0])


def known_devices() -> tuple[Device, ...]:
    """Those of --devices, and then those of data sheets."""
    return (*(read_devices(DEVICES.value) if DEVICES.value else ()), *KNOWN)


def chosen_device() -> Device | None:
    """That of --device."""
    return find_device(DEVICE.value, known_devices()) if DEVICE.value else None


def _directories(paths: Sequence[Path]) -> Data:
    about: dict[str, Any] = {"data": ",".join(map(str, paths))}
    if len(paths) > 1 and len(by_environment(paths)) > 1:
        several = read_device_datasets(paths, known_devices(), WINDOW_QUANTILE.value)
        known = [share for share in several.repeatability.values() if share is not None]
        about |= {"repeatability": min(known) if known else None}
        about |= {"environments": several.environments}
        return Data(several.tables, about, None, several.devices, None)
    dataset = read_datasets(paths, WINDOW_QUANTILE.value)
    device = chosen_device()
    if device is None:
        try:
            device = of_environment(dataset.environment, known_devices())
        except DeviceError:  # nobody has described it, which matters to other devices alone
            device = None
    about |= {"repeatability": dataset.repeatability}
    return Data(dataset.tables, about, dataset, (), device)


def _file(path: Path) -> Data:
    about = {"data": path.name, "repeatability": None}
    if not DEVICE_COLUMN.value:
        table = _table(path, {})
        return Data({table.kind: table}, about, None, (), chosen_device())
    column = DEVICE_COLUMN.value
    names = DEVICE_NAMES.value or column_texts(path, column)
    devices = tuple(find_device(name, known_devices()) for name in names)
    tables = [with_device(_table(path, {column: device.name}), device) for device in devices]
    return Data({tables[0].kind: joined(tables)}, about, None, devices, None)


def _table(path: Path, where: Mapping[str, str]) -> Table:
    values: dict[str, dict[str, Any]] = {}
    for name, value in _pairs("values", VALUES.value).items():
        parameter, _, text = name.partition(".")
        values.setdefault(parameter, {})[text] = value
    columns = _pairs("columns", COLUMNS.value)
    where = {**_pairs("where", WHERE.value), **where}
    assert KIND.value is not None  # `read_data` has seen to it
    return read_csv_table(path, KIND.value, columns, TARGET.value, UNIT.value, where, values)


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in pairs:
            raise ConfigError(f"--{flag}: {text!r}; expected NAME=VALUE, each name once")
        pairs[name] = value
    return pairs
