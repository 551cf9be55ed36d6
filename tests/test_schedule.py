import itertools
from collections import Counter
from dataclasses import replace

import pytest

from latency_jax.collection.schedule import has_load, measuring, rounds, threads_of
from latency_jax.config import CollectConfig, ConditionsConfig
from latency_jax.measuring.load import Load
from latency_jax.measuring.timing import CAREFUL, FAST
from latency_jax.modules import get_kind
from packd_jax.config import ConfigError

KINDS = ("dense", "add", "max_pool")


def test_rounds_are_those_of_the_seed_and_hold_every_kind_alike():
    config = CollectConfig(kinds=KINDS, configurations=32)
    found = list(rounds(config))
    assert found == list(rounds(config))
    assert [Counter(job.config.kind for job in jobs) for jobs in found] == [
        dict.fromkeys(KINDS, 14),
        dict.fromkeys(KINDS, 14),
        dict.fromkeys(KINDS, 4),
    ]
    jobs = list(itertools.chain(*found))
    assert len({job.key for job in jobs}) == len({job.config.identity for job in jobs}) == 96
    for kind in KINDS:
        of_kind = [job for job in jobs if job.config.kind == kind]
        assert [job.number for job in of_kind] == list(range(32))
        assert all(get_kind(kind).is_valid(job.config.values) for job in of_kind)
    other = CollectConfig(kinds=KINDS, configurations=32, seed=1)
    assert not {j.config.identity for j in jobs} & {
        j.config.identity for r in rounds(other) for j in r
    }


def test_more_configurations_go_on_where_fewer_ended():
    few, many = (
        [job for jobs in rounds(CollectConfig(kinds=("add",), configurations=n)) for job in jobs]
        for n in (20, 50)
    )
    assert many[:20] == few


def test_a_kind_without_more_configurations_ends_early():
    specs = {"add": {"positions": "1,2", "features": "8,16"}}
    config = CollectConfig(
        kinds=("add", "dense"),
        conditions=ConditionsConfig(batch_size="1"),
        customizations=specs,
        configurations=30,
    )
    counts = Counter(job.config.kind for jobs in rounds(config) for job in jobs)
    assert counts == {"add": 4, "dense": 30}


def test_a_round_has_one_load_and_a_kind_may_have_its_own():
    config = CollectConfig(
        kinds=KINDS,
        conditions=ConditionsConfig(cpu_utilization="0,0.5,1", memory_pressure="0:0.5"),
        customizations={"add": {"cpu_utilization": "off"}},
        configurations=280,
    )
    levels = set()
    for jobs in rounds(config):
        usual = {job.load for job in jobs if job.config.kind != "add"}
        own = {job.load for job in jobs if job.config.kind == "add"}
        assert len(usual) == len(own) == 1
        assert {load.memory_pressure for load in usual} == {load.memory_pressure for load in own}
        assert {load.cpu_utilization for load in own} == {0.0}
        levels |= usual
    assert {load.cpu_utilization for load in levels} == {0.0, 0.5, 1.0}
    assert len({load.memory_pressure for load in levels}) == len(levels) == 20


@pytest.mark.parametrize(
    ("spec", "mode", "expected"),
    [
        ("off", "fast", FAST),
        ("0", "careful", CAREFUL),
        ("0,0.5", "fast", FAST.under_load()),
        ("0.5", "careful", CAREFUL.under_load()),
    ],
)
def test_one_estimator_for_all_rows(spec, mode, expected):
    conditions = ConditionsConfig(memory_pressure=spec)
    config = CollectConfig(kinds=KINDS, conditions=conditions, mode=mode)
    assert measuring(config) == expected
    assert has_load(config) == (expected not in (FAST, CAREFUL))
    assert expected.under_load() == (expected if has_load(config) else expected.under_load())


def test_fewer_windows_are_for_more_configurations():
    config = CollectConfig(kinds=KINDS, mode="careful", windows=5)
    assert measuring(config) == replace(CAREFUL, windows=5, max_windows=5)


def test_threads_are_one_number():
    assert threads_of(CollectConfig(kinds=KINDS)) == 0
    assert threads_of(CollectConfig(conditions=ConditionsConfig(threads="2"))) == 2
    for conditions, specs in (("1,2", {}), ("off", {"add": {"threads": "1"}})):
        config = CollectConfig(
            kinds=KINDS, conditions=ConditionsConfig(threads=conditions), customizations=specs
        )
        with pytest.raises(ConfigError, match=r"conditions.threads = .*one number"):
            threads_of(config)


def test_no_load_is_no_load():
    jobs = next(rounds(CollectConfig(kinds=("dense",))))
    assert {job.load for job in jobs} == {Load()} and len(jobs) == 40
