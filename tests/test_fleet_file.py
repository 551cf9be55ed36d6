import json
import shutil

import pytest
from tiny_collection import tiny

from latency_jax.collection.collect import collect
from latency_jax.collection.dataset import read_dataset
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.fleet_file import FILE, FleetFile, fleet_id, read_fleet
from latency_jax.environment import environment

CPU = {"id": "0123", "cpu_model": "Intel(R) Xeon(R) CPU @ 2.20GHz", "threads": 8}
GPU = {"id": "4567", "device_kind": "NVIDIA H200", "cpu_model": "x", "threads": 2}


def facts(about=CPU, machine="desk", device="cpu"):
    return {"machine": machine, "device": device, "niceness": 0, "environment": about}


def test_ids_are_readable_and_last():
    assert fleet_id(facts()) == fleet_id(facts(dict(CPU)))
    assert fleet_id(facts()).startswith("intel-xeon-8c-") and len(fleet_id(facts())) == 20
    assert fleet_id(facts(GPU, device="gpu3")).startswith("nvidia-h200-gpu3-")
    epyc = {**CPU, "cpu_model": "AMD EPYC 7B13 64-Core Processor"}
    assert fleet_id(facts(epyc)).startswith("amd-epyc-7b13-8c-")
    assert fleet_id(facts({**CPU, "cpu_model": None})).startswith("unknown-8c-")


def test_other_machines_devices_and_versions_have_other_ids():
    some = [
        facts(),
        facts(machine="rack"),
        facts({**CPU, "threads": 4}),
        facts({**CPU, "id": "4567"}),
        facts(GPU, device="gpu0"),
        facts(GPU, device="gpu1"),
    ]
    assert len(set(map(fleet_id, some))) == len(some)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fleet")
    for name, configurations in (("a-1c-00", 3), ("b-2c-11", 2)):
        collect(tiny(configurations=configurations), directory / name)
    return directory


@pytest.fixture
def fleet(measured, tmp_path):
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    file = FleetFile(tmp_path)
    file.put("b-2c-11", facts(environment(), "rack"), None)
    file.put("a-1c-00", facts(environment()), "was interrupted")
    return tmp_path


def test_what_was_put_is_what_is_there(fleet):
    stored = json.loads((fleet / FILE).read_text())["environments"]
    file = FleetFile(fleet)
    assert file.environments == stored and list(stored) == ["a-1c-00", "b-2c-11"]
    assert file.unfinished == {"a-1c-00": "was interrupted"}
    assert [about["rows"] for about in stored.values()] == [3, 2]
    assert stored["b-2c-11"]["machine"] == "rack"
    assert stored["a-1c-00"]["environment"]["id"] == environment()["id"]
    dataset = read_dataset(fleet / "a-1c-00")
    assert stored["a-1c-00"]["repeatability"] == dataset.repeatability
    assert stored["a-1c-00"]["per_minute"] == pytest.approx(dataset.rate)
    assert (fleet / "a-1c-00" / "collection.json").exists()
    assert file.describe().splitlines()[1].startswith("     2  b-2c-11: ")


def test_putting_again_counts_nothing_twice_and_keeps_what_others_put(fleet):
    before = FleetFile(fleet)
    FleetFile(fleet).put("a-1c-00", facts(environment()), None)
    before.put("b-2c-11", facts(environment()), None)
    assert before.unfinished == {}
    assert [about["rows"] for about in FleetFile(fleet).environments.values()] == [3, 2]


def test_datasets_are_read_by_environment(fleet):
    (fleet / "c-1c-22").mkdir()
    FleetFile(fleet).put("c-1c-22", facts(), "nothing yet")
    found = read_fleet(fleet)
    assert list(found) == ["a-1c-00", "b-2c-11"]
    for name, dataset in found.items():
        assert dataset.environment["fleet_id"] == name
        alone = read_dataset(fleet / name).tables["add"]
        assert dataset.tables["add"].latency.tolist() == alone.latency.tolist()


def test_an_environment_is_given_up_by_removing_its_directory(fleet):
    shutil.rmtree(fleet / "a-1c-00")
    assert FleetFile(fleet).unfinished == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "other"}', "../a", '{"environments": {"a": 1}}']
)
def test_foreign_files_are_told(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    for read in (FleetFile, read_fleet):
        with pytest.raises(DatasetError, match=r"fleet.json: is none of this program's"):
            read(tmp_path)


def test_names_stay_inside(fleet):
    stored = (fleet / FILE).read_text().replace("a-1c-00", "../a-1c-00")
    (fleet / FILE).write_text(stored)
    with pytest.raises(DatasetError, match="is no environment id"):
        read_fleet(fleet)


def test_without_a_fleet_the_command_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no such file; .* --engine=ray"):
        read_fleet(tmp_path)
