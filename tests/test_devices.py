"""Descriptors: checked when they are read, found by name, and columns of tables."""

import json

import numpy as np
import pytest

from latency_jax.devices import (
    COLUMNS,
    NAME,
    Device,
    DeviceError,
    find_device,
    known_of,
    of_environment,
    read_devices,
    with_device,
    without_device,
)
from latency_jax.known_devices import KNOWN
from latency_jax.parameters import ParameterError
from latency_jax.table import make_table

OWN = Device("my CPU", 2e11, 4e10, 3.2e7, 8, 3e9, 6.4e10)
TABLE = make_table("dense", {"in_features": np.arange(1, 4)}, np.ones(3))


def test_columns_tell_the_device_and_are_taken_away_again():
    told = with_device(TABLE, OWN)
    assert told.columns[NAME].tolist() == ["my CPU"] * 3
    assert told.columns["device_flops_per_s"].tolist() == [2e11] * 3
    assert [told.columns[name][0] for name in COLUMNS] == list(OWN[1:])
    assert all(told.columns[name].dtype == np.float64 for name in COLUMNS)
    again = with_device(told, KNOWN[0])  # in place of the other
    assert again.columns["device_cores"].tolist() == [KNOWN[0].cores] * 3
    assert list(without_device(again).columns) == ["in_features"]


def test_files_bring_devices_back(tmp_path):
    path = tmp_path / "devices.json"
    path.write_text(json.dumps([OWN.to_json(), KNOWN[3].to_json()]))
    assert read_devices(path) == (OWN, KNOWN[3])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cores": 0}, "'my CPU': cores = 0; expected more than 0"),
        ({"cores": True}, "cores = True"),
        ({"hertz": None}, "hertz = None"),
        ({"bytes": 1}, "unknown bytes; expected flops_per_s"),
        ({"name": ""}, "expected a name"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, change, told):
    path = tmp_path / "devices.json"
    path.write_text(json.dumps([{**OWN.to_json(), **change}]))
    with pytest.raises(DeviceError, match=told) as error:
        read_devices(path)
    assert str(path) in str(error.value)


def test_other_files_are_no_devices(tmp_path):
    missing = {name: value for name, value in OWN.to_json().items() if name != "cache_bytes"}
    for text, told in (
        ("{", "expected a JSON list"),
        ("{}", "expected a list"),
        (json.dumps([missing]), "without cache_bytes"),
        ("[3]", "device 3"),
    ):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(DeviceError, match=told):
            read_devices(tmp_path / "d.json")
    with pytest.raises(DeviceError, match="No such file"):
        read_devices(tmp_path / "none.json")


def test_the_first_of_a_name_is_found_and_the_nearest_named():
    mine = OWN._replace(name="Tesla T4")
    assert find_device("Tesla T4", (mine, *KNOWN)) is mine
    with pytest.raises(ParameterError, match="did you mean 'Tesla T4'"):
        find_device("Tesla T", KNOWN)


def test_an_environment_is_the_device_of_its_id_accelerator_or_cpu():
    gpu = {"id": "abc", "backend": "gpu", "device_kind": "Tesla T4", "cpu_model": "my CPU"}
    cpu = {**gpu, "backend": "cpu", "device_kind": "cpu"}
    assert of_environment(gpu, (OWN, *KNOWN)).name == "Tesla T4"
    assert of_environment(cpu, (OWN, *KNOWN)) is OWN
    named = OWN._replace(name="abc")
    assert of_environment(cpu, (OWN, named)) is named
    with pytest.raises(DeviceError, match=r'environment abc: .*"name": "my CPU"'):
        of_environment(cpu, KNOWN)


def test_what_an_environment_says_of_a_cpu():
    facts = {"backend": "cpu", "cpu_model": "Some(R) CPU @ 2.50GHz", "threads": 4}
    facts |= {"cpu_flags": "avx2 fma", "memory_bytes": 1000}
    known = known_of(facts)
    assert known["flops_per_s"] == 4 * 8 * 2.5e9 * 4 and known["bytes_per_s"] is None
    assert (known["cores"], known["hertz"], known["memory_bytes"]) == (4, 2.5e9, 1000)
    assert known_of({**facts, "cpu_model": "AMD EPYC"})["flops_per_s"] is None
    assert known_of({"backend": "gpu", "device_kind": "X"})["name"] == "X"
