import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_collection import tiny

from latency_jax.collection import fleet as fleet_module
from latency_jax.collection.collect import collect
from latency_jax.collection.dataset_file import FILE
from latency_jax.collection.fleet import FleetError, Place, collect_fleet, places
from latency_jax.collection.fleet_file import FleetFile
from latency_jax.config import ConditionsConfig, read_config
from packd_jax.config import ConfigError

ROOT = Path(__file__).parent.parent


def node(name="a", machine="desk", alive=True, labels=None, **resources):
    return {
        "NodeID": name,
        "Alive": alive,
        "NodeManagerHostname": machine,
        "Labels": labels or {},
        "Resources": {"memory": 1e9, **resources},
    }


def test_a_collector_on_each_node_or_gpu():
    nodes = [
        node("head", CPU=0.0),
        node("a", CPU=8.0),
        node("b", "rack", CPU=8.0, GPU=2.0),
        node("c", "gone", alive=False, CPU=8.0),
        node("d", labels={"machine": "shelf"}, CPU=8.0),
    ]
    assert places(nodes) == [
        Place("a", "desk", 8),
        Place("b", "rack", 4, 0, 1),
        Place("b", "rack", 4, 4, 1),
        Place("d", "shelf", 8),
    ]


def test_nodes_that_could_not_be_told_apart_are_refused():
    assert len(places([node("a", CPU=2.0), node("b", CPU=1.0)])) == 2
    with pytest.raises(FleetError, match=r"two nodes named 'desk' .* `ray start --labels=machine="):
        places([node("a", CPU=2.0), node("b", CPU=2.0)])
    with pytest.raises(FleetError, match="no node of the cluster has CPUs"):
        places([node(CPU=0.0)])


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'packd-jax\[ray\]'"):
        collect_fleet(tiny(), tmp_path)


class Failure(Exception):
    def __init__(self, cause=None):
        super().__init__("first line\nlast line")
        self.cause = cause


class Unavailable(Failure):
    pass


class TaskFailure(Failure):
    pass


class Actor:
    """Answers as a list says; an error is raised. Like Ray, methods are called by `remote`."""

    def __init__(self, threads, data, answers):
        about = {"id": "0123", "cpu_model": "some", "threads": threads}
        facts = {"machine": "desk", "device": "cpu", "niceness": 0, "environment": about}
        self.data, self.answers, self.sent, self.killed = data, list(answers), None, False
        self.facts = self.method(lambda: facts)
        self.start = self.method(lambda data: setattr(self, "sent", data))
        self.more = self.method(self.give)
        self.close = self.method(lambda: None)

    def method(self, function):
        async def remote(*arguments):
            return function(*arguments)

        return SimpleNamespace(remote=remote)

    def give(self, start, _):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self.data[start:answer], answer == len(self.data)


@pytest.fixture
def fake_ray(monkeypatch):
    """A function that lets `collect_fleet` meet these actors, one to a node."""

    def use(*actors):
        rest = iter(actors)

        def make(job):
            actor = next(rest)
            actor.job = job
            return actor

        made = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=make))
        errors = {"RayError": Failure, "RayTaskError": TaskFailure}
        affinity = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda *_, **__: None)
        ray = SimpleNamespace(
            nodes=lambda: [node(str(i), CPU=i + 1.0) for i in range(len(actors))],
            remote=lambda _: made,
            kill=lambda actor: setattr(actor, "killed", True),
            util=SimpleNamespace(scheduling_strategies=affinity),
            exceptions=SimpleNamespace(ActorUnavailableError=Unavailable, **errors),
        )
        monkeypatch.setattr(fleet_module, "connected", lambda _: nullcontext(ray))
        monkeypatch.setattr(fleet_module, "POLL_S", 0.0)

    return use


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("measured")
    collect(tiny(), directory)
    return (directory / FILE).read_bytes()


def test_some_fail_and_the_others_finish(fake_ray, measured, tmp_path):
    half, size = measured.index(b"\n", len(measured) // 2) + 1, len(measured)
    actors = [
        Actor(1, measured, [half, Failure()]),
        Actor(2, measured, [0, Unavailable(), half, Unavailable(), size]),
        Actor(3, measured, [half, TaskFailure(ValueError("a mistake"))]),
        Actor(2, measured, []),
    ]
    fake_ray(*actors)
    with pytest.raises(FleetError) as caught:
        collect_fleet(tiny(), tmp_path)
    told = str(caught.value)
    assert "some-1c-" in told and "its node or its collector was lost: Failure: last line" in told
    assert "some-3c-" in told and ": a mistake" in told
    assert "desk, 4 cores: two nodes named 'desk'" in told and "some-2c-" not in told
    assert all(actor.killed for actor in actors)
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert [(tmp_path / n / FILE).stat().st_size for n in names] == [half, size, half]
    assert list(FleetFile(tmp_path).unfinished) == [names[0], names[2]]

    actors = [Actor(cores, measured, [size]) for cores in (1, 2, 3)]
    fake_ray(*actors)
    assert not collect_fleet(tiny(), tmp_path).unfinished
    assert [len(actor.sent) for actor in actors] == [half, size, half]
    assert all((tmp_path / name / FILE).read_bytes() == measured for name in names)


def test_what_is_no_longer_there_stays_unfinished(fake_ray, measured, tmp_path):
    fake_ray(Actor(1, measured, [Failure()]), Actor(2, measured, [len(measured)]))
    with pytest.raises(FleetError, match="unfinished: some-1c"):
        collect_fleet(tiny(), tmp_path)
    fake_ray(Actor(2, measured, [len(measured)]))
    with pytest.raises(FleetError, match=r"unfinished: some-1c-.* remove its directory"):
        collect_fleet(tiny(), tmp_path)


def test_a_node_is_told_what_to_measure_and_on_how_many_cores(fake_ray, measured, tmp_path):
    actors = [Actor(1, measured, [len(measured)]), Actor(2, measured, [len(measured)])]
    fake_ray(*actors)
    collect_fleet(tiny(), tmp_path, register=["own_kinds"])
    assert [actor.job.cores for actor in actors] == [1, 2]
    assert {actor.job.machine for actor in actors} == {"desk"}
    assert actors[0].job.register == ("own_kinds",) and str(tmp_path) in actors[0].job.fleet
    assert read_config(actors[0].job.config) == tiny()
    actors = [Actor(1, measured, [len(measured)]), Actor(2, measured, [len(measured)])]
    fake_ray(*actors)
    collect_fleet(tiny(conditions=ConditionsConfig(threads="1")), tmp_path / "one")
    assert [actor.job.cores for actor in actors] == [1, 1]


def test_a_damaged_copy_is_told_and_kept(fake_ray, measured, tmp_path):
    fake_ray(Actor(1, measured, [len(measured)]))
    (name,) = collect_fleet(tiny(), tmp_path).environments
    (tmp_path / name / FILE).write_bytes(measured.replace(b"1", b"2"))
    fake_ray(Actor(1, measured, [len(measured)]))
    with pytest.raises(FleetError, match=rf"{name}: .*{FILE}: line 1"):
        collect_fleet(tiny(), tmp_path)
    assert (tmp_path / name / FILE).read_bytes() == measured.replace(b"1", b"2")
