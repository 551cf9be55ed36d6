"""The named configurations are what their names promise."""

import dataclasses

import pytest

from experiments.configs.packd import CONFIGS, get_config, study
from packd_jax.config import Config, ConfigError, QuirksConfig, from_config_dict
from packd_jax.models import InputSpec, build_model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_survives_the_command_line(name):
    config = study(name)
    assert from_config_dict(Config, get_config(name)) == config and config.name == name
    for entry in config.entries.values():
        for network in (entry.student, entry.teacher):
            build_model(network, InputSpec.of(entry.features), config.quirks.lstm_along_batch)


def test_only_paper_compat_has_quirks():
    for name in CONFIGS:
        compat = name.startswith("paper_compat")
        assert (study(name).quirks != QuirksConfig()) == compat, name
    quirks = dataclasses.asdict(study("paper_compat_lstm").quirks)
    assert quirks.keys() == dataclasses.asdict(QuirksConfig()).keys()
    assert all(quirks[key] != off for key, off in dataclasses.asdict(QuirksConfig()).items())


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="expected one of quick, smoke"):
        study("quikc")
