"""Collections as configured: spellings of what is drawn, typos, bad values."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from latency_jax.config import CollectConfig, ConditionsConfig, read_config
from latency_jax.modules import customized_parameters, kinds, sample_config
from packd_jax.config import ConfigError, to_json_dict

VALUES = {
    "kinds": ["conv2d", "dense"],
    "conditions": {
        "batch_size": {"low": 1, "high": 64, "scale": "powers_of_two"},
        "cpu_utilization": [0.0, 0.5, 1],
        "threads": 2,
    },
    "customizations": {
        "conv2d": {"kernel_size": [1, 3], "padding": "SAME", "use_bias": False, "dilation": "off"},
        "dense": {"in_features": {"high": 100}, "activation": "relu,gelu"},
    },
    "minutes": 2,
    "mode": "careful",
}
READ = CollectConfig(
    kinds=("conv2d", "dense"),
    conditions=ConditionsConfig("1:64:powers_of_two", "off", "0.0,0.5,1", "off", "2"),
    customizations={
        "conv2d": {"kernel_size": "1,3", "padding": "SAME", "use_bias": "False", "dilation": "off"},
        "dense": {"in_features": ":100", "activation": "relu,gelu"},
    },
    minutes=2.0,
    mode="careful",
)


@pytest.mark.parametrize("through", [dict, ConfigDict], ids=["dict", "ConfigDict"])
def test_every_spelling_becomes_text(through):
    assert read_config(through(VALUES)) == READ


@pytest.mark.parametrize("config", [CollectConfig(), READ], ids=["default", "varied"])
def test_a_config_survives_json(config):
    assert read_config(json.loads(json.dumps(to_json_dict(config)))) == config


def test_a_command_line_overrides_what_a_file_says():
    values = ConfigDict(VALUES)
    values.conditions.cpu_utilization = ["0:1"]  # a list in the file stays one
    values.customizations.dense.activation = "tanh"
    config = read_config(values)
    assert config.conditions.cpu_utilization == "0:1"
    drawn = sample_config("dense", np.random.default_rng(0), config.customizations_of("dense"))
    assert drawn.parameters["activation"] == "tanh"


def test_only_the_batch_size_varies_beside_a_kinds_parameters_unless_told():
    config = CollectConfig()
    assert config.measured_kinds == kinds()
    parameters = customized_parameters("add", config.customizations_of("add"))
    inputs = [parameter.name for parameter in parameters if parameter.is_input]
    assert inputs == ["positions", "features", "batch_size"]


def test_a_kind_draws_a_condition_its_own_way():
    values = {"kinds": ["add"], "customizations": {"add": {"batch_size": 7}}}
    specs = read_config(values).customizations_of("add")
    assert specs["batch_size"] == "7"
    assert sample_config("add", np.random.default_rng(0), specs).conditions["batch_size"] == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minuts": 3}, r"^config\.minuts: no such key; did you mean config\.minutes\?$"),
        ({"kinds": ["conv2"]}, r"^config\.kinds = .*did you mean 'conv2d'\?"),
        ({"conditions": {"batchsize": 3}}, r"did you mean config\.conditions\.batch_size\?$"),
        ({"customizations": {"dens": {}}}, r"^config\.customizations = .*did you mean 'dense'\?"),
        (
            {"customizations": {"conv2d": {"kernal_size": 3}}},
            r"^config\.customizations = .*did you mean 'kernel_size'\?",
        ),
        ({"kinds": ["add"], "customizations": {"dense": {}}}, r"'dense': expected one of \('add'"),
        ({"customizations": {"conv2d": 3}}, r"^config\.customizations\.conv2d = 3: expected named"),
        ({"customizations": 3}, r"^config\.customizations = 3: expected named groups$"),
    ],
)
def test_a_typo_names_the_nearest_key(values, message):
    with pytest.raises(ConfigError, match=message):
        read_config(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": ["add", "add"]}, r"^config\.kinds = .*expected distinct kinds$"),
        ({"configurations": 0}, r"^config\.configurations = 0: expected at least 1$"),
        ({"configurations": "9"}, r"^config\.configurations = '9': expected int, given str$"),
        ({"minutes": 0}, r"^config\.minutes = 0\.0: expected more than 0$"),
        ({"mode": "slow"}, r"^config\.mode = 'slow': expected one of \('fast', 'careful'\)$"),
        ({"windows": -1}, r"^config\.windows = -1: expected 0 or more$"),
        ({"size_limit": -1}, r"^config\.size_limit = -1\.0: expected more than 0$"),
        ({"seed": -1}, r"^config\.seed = -1: expected 0 or more$"),
        ({"conditions": {"batch_size": 0}}, r"batch_size = 0: expected int from 1 to 256$"),
        ({"conditions": {"batch_size": [1, 2.5]}}, r"batch_size = '2\.5': expected int from 1"),
        ({"conditions": {"dtype": "float8"}}, r"dtype = 'float8': expected one of \('float32',"),
        (
            {"conditions": {"batch_size": None}},
            r"^config\.conditions\.batch_size = None: expected 'off', a value, a list",
        ),
        (
            {"conditions": {"batch_size": {"lo": 1}}},
            r"^config\.conditions\.batch_size = 'lo': expected .*did you mean 'low'\?",
        ),
        (
            {"conditions": {"cpu_utilization": {"low": 0, "scale": "log"}}},
            r"cpu_utilization: low = 0\.0: expected above 0, as the scale is log$",
        ),
    ],
)
def test_a_bad_value_is_refused_where_it_is(values, message):
    with pytest.raises(ConfigError, match=message):
        read_config(values)
