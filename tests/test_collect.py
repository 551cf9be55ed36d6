import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from latency_jax.collection import schedule
from latency_jax.collection.collect import collect
from latency_jax.collection.dataset import read_dataset
from latency_jax.collection.dataset_file import FILE, read_lines
from latency_jax.collection.schedule import rounds
from latency_jax.config import CollectConfig, ConditionsConfig
from latency_jax.modules import Built, Cost, ModuleKind, register
from latency_jax.parameters import Parameter
from packd_jax.config import ConfigError

TINY = {"positions": "1:4", "features": "8:32"}


def small(**changes):
    usual = {"kinds": ("add",), "customizations": {"add": TINY}, "configurations": 3}
    return CollectConfig(**{**usual, "minutes": 30.0, "repeat_after_minutes": 0.0, **changes})


def keys(directory):
    rows = read_lines(directory / FILE).rows
    return [(row["config"]["kind"], row["number"], row["repeat"]) for row in rows]


def test_everything_is_measured_once_and_the_first_round_twice(tmp_path):
    config = small()
    done = collect(config, tmp_path)
    assert done.is_finished and done.measurements == 6
    expected = [("add", number, repeat) for repeat in (0, 1) for number in range(3)]
    assert sorted(keys(tmp_path)) == sorted(expected)
    dataset = read_dataset(tmp_path)
    jobs = list(itertools.chain(*rounds(config)))
    assert (dataset.tables["add"].latency > 0).all()
    for name, column in dataset.tables["add"].columns.items():
        assert column.tolist() == [job.config.values[name] for job in jobs]
    assert (dataset.gaps_s > 0).all() and 0 <= dataset.repeatability <= 1
    assert collect(config, tmp_path).measurements == 0
    more = collect(small(configurations=5), tmp_path)  # of the round that is measured twice
    assert more.measurements == 4 and len(set(keys(tmp_path))) == 10


def test_it_stops_early_and_goes_on(tmp_path):
    config = small(configurations=20)
    first = collect(config, tmp_path, at_most=10)
    assert not first.is_finished and 10 <= first.measurements < 40
    second = collect(config, tmp_path)
    assert second.is_finished and first.measurements + second.measurements == 40
    assert len(set(keys(tmp_path))) == len(keys(tmp_path)) == 40


def test_time_that_was_spent_counts(tmp_path):
    config = small(configurations=10_000, minutes=1e-3)
    done = collect(config, tmp_path)
    assert done.is_finished and 16 <= done.measurements < 200
    assert collect(config, tmp_path).measurements == 0


def test_load_is_achieved_and_is_a_column(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "ROUND", 4)
    conditions = ConditionsConfig(cpu_utilization="0,0.5")
    config = small(conditions=conditions, configurations=5)  # two rounds
    collect(config, tmp_path)
    dataset = read_dataset(tmp_path)
    drawn = [job.load.cpu_utilization for jobs in rounds(config) for job in jobs]
    assert set(drawn) == {0.0, 0.5}
    assert dataset.tables["add"].columns["cpu_utilization"].tolist() == drawn
    requested, achieved = dataset.loads[:, 0].T
    assert len(requested) > 5 and ((achieved > 0) == (requested > 0)).all()


def _broken_kind():
    def make(v):
        if v["features"] > 2:
            raise RuntimeError("no such thing")
        return Built(nn.Dense(2), (jax.ShapeDtypeStruct((1, v["features"]), jnp.float32),))

    features = Parameter("features", default=1, low=1, high=4)
    return ModuleKind("sometimes_broken", (features,), make, lambda v: Cost(1, 4, 4, 4))


def test_what_cannot_be_measured_is_recorded_and_the_rest_goes_on(tmp_path):
    register(_broken_kind())
    config = small(
        kinds=("sometimes_broken",),
        customizations={},
        conditions=ConditionsConfig(batch_size="1"),
        configurations=10,
    )
    done = collect(config, tmp_path)  # there are four
    dataset = read_dataset(tmp_path)
    assert sorted(dataset.tables["sometimes_broken"].columns["features"]) == [1, 2]
    assert len(dataset.failures) == 2 and len(dataset.pairs_s) == 2 and done.measurements == 6
    assert all("RuntimeError: no such thing" in failure for failure in dataset.failures)
    assert collect(config, tmp_path).measurements == 0


def test_threads_are_those_of_the_process(tmp_path):
    with pytest.raises(ConfigError, match=r"threads = 999: this process may use \d+ cores"):
        collect(small(conditions=ConditionsConfig(threads="999")), tmp_path)
    assert not (tmp_path / FILE).exists()
