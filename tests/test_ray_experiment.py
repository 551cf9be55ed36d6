"""Experiments: trials that fail, what is told of them, and what the same call does again."""

import json
import shutil
from types import SimpleNamespace

import pytest
from test_ray_sweep import RATE, config_of, on_ray, ray  # noqa: F401  the cluster fixture

from packd_jax import sweep
from packd_jax.config import ConfigError
from packd_jax.ray_experiment import Experiment, RaySettings, RaySweepError
from packd_jax.sweep_table import read_rows

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's files and sockets

AXES = {RATE: (5e-2, 1e-2)}


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2])
def test_gpus_are_whole_or_a_part_of_one(gpus):
    assert RaySettings(gpus_per_trial=gpus).gpus_per_trial == gpus
    with pytest.raises(ConfigError, match="expected a part of one GPU, or whole ones"):
        RaySettings(gpus_per_trial=gpus + 1.5 if gpus % 1 == 0 else 1.25)


def test_what_failed_is_told_and_the_same_call_tries_it_again(ray, tmp_path, capsys):  # noqa: F811
    config = config_of(tmp_path, seeds=(0,))
    bad = sweep.apply_point(config, {RATE: 1e-2})
    stone = sweep.program_home([({}, bad)], tmp_path)
    stone.parent.mkdir()
    stone.write_text("a file where the trial's directory should be")
    with pytest.raises(RaySweepError) as caught:
        on_ray(config, AXES, tmp_path, max_failures=0)
    told = str(caught.value)
    assert told.startswith("1 of 2 trials failed, each more than 0 times; the last, {'entries.")
    assert "Error: " in told and told.endswith("the same command tries these again")
    said = capsys.readouterr().err
    assert said.count("failed for good: ") == 1 and "is tried again" not in said
    assert [row["point"][RATE] for row in read_rows(tmp_path / "sweep.jsonl")] == [5e-2]

    stone.unlink()
    rows = on_ray(config, AXES, tmp_path, max_failures=0)
    assert [row["point"][RATE] for row in rows] == [5e-2, 1e-2]
    assert f"-1: restored from {tmp_path}/ray; 1 points" in capsys.readouterr().err

    # Ray knows that all is done, but the results were taken away: they are made anew.
    (tmp_path / "sweep.jsonl").unlink()
    shutil.rmtree(tmp_path / "trials")
    again = on_ray(config, AXES, tmp_path)
    assert again == rows  # and from the programs' last states
    assert f"-2: new in {tmp_path}/ray; 2 points" in capsys.readouterr().err


def test_a_stopped_trial_is_in_the_table_once(tmp_path):
    config = config_of(tmp_path)
    made = Experiment(config, AXES, {}, "sweep", tmp_path, RaySettings(asha=True))
    result = {"finished": False, "evaluation": 1, "validation_f1": 0.25}
    place = {"point": json.dumps({RATE: 1e-2})}
    stopped = SimpleNamespace(config=place, status="TERMINATED", last_result=result)
    name = sweep.identity(sweep.apply_point(config, {RATE: 1e-2}))
    for _ in range(2):
        made.keep_stopped(stopped)
    (row,) = read_rows(tmp_path / "sweep.jsonl")
    assert row == {
        "point": {RATE: 1e-2},
        "config": name,
        "entry": "tokens",
        "arm": None,
        "seed": None,
        "f1": None,
        "validation_f1": 0.25,
        "stopped": {"evaluation": 1, "of": 2},
    }
