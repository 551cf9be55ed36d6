"""Collections of several machines as tables that tell the device."""

import numpy as np
import pytest
from test_dataset import ENVIRONMENT, write

from latency_jax.collection.dataset import read_dataset
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.device_datasets import by_environment, read_device_datasets
from latency_jax.devices import Device, DeviceError

ONE = Device("0123456789ab", 1e11, 1e10, 1e6, 2, 2e9, 8e9)
OTHER = Device("faster CPU", 2e11, 2e10, 1e6, 4, 3e9, 8e9)
SECOND = {**ENVIRONMENT, "id": "ffff", "backend": "cpu", "cpu_model": "faster CPU"}


@pytest.fixture
def places(tmp_path):
    for name, environment in (("a", ENVIRONMENT), ("b", SECOND), ("c", ENVIRONMENT)):
        write(tmp_path / name, environment=environment)
    return [tmp_path / name for name in "abc"]


def test_rows_of_each_machine_have_its_numbers(places):
    assert by_environment(places) == {"0123456789ab": [places[0], places[2]], "ffff": [places[1]]}
    found = read_device_datasets(places, (ONE, OTHER))
    alone = read_dataset(places[0]).tables["dense"]
    table = found.tables["dense"]
    assert table.rows == 3 * alone.rows
    names = table.columns["device"].tolist()
    assert names == [ONE.name] * 2 * alone.rows + [OTHER.name] * alone.rows
    expected = [1e11] * 2 * alone.rows + [2e11] * alone.rows
    np.testing.assert_array_equal(table.columns["device_flops_per_s"], expected)
    assert found.devices == (ONE, OTHER) and found.environments[OTHER.name] == SECOND
    assert found.repeatability[OTHER.name] == 0.5


def test_a_machine_that_nobody_describes_is_named(places):
    with pytest.raises(DeviceError, match="environment ffff: no device of this name or 'faster"):
        read_device_datasets(places, (ONE,))


def test_two_environments_of_one_device_are_not_mixed(tmp_path, places):
    write(tmp_path / "d", environment={**SECOND, "id": "eeee"})
    with pytest.raises(DatasetError, match=r"ffff and eeee are both 'faster CPU'"):
        read_device_datasets([*places, tmp_path / "d"], (ONE, OTHER))
