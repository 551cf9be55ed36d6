"""Sweeps on Ray: the local engine's table, Optuna and ASHA, and what is told beforehand."""

import builtins
import dataclasses
import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from small_study import ENTRY, TRAIN, study, trace

from packd_jax import ray_sweep, sweep
from packd_jax.config import ConfigError
from packd_jax.ray_cluster import connected
from packd_jax.ray_experiment import Experiment, RaySettings, RaySweepError
from packd_jax.run_log import RunLog
from packd_jax.sweep_table import finished
from packd_jax.traces.mldpc import write_trace

RATE = "entries.tokens.student_train.learning_rate"
WIDTH = "entries.tokens.student.width"
AXES = {WIDTH: (1, 2), RATE: (5e-2, 1e-2)}
# Good rates first, so that those after them have something to be worse than.
RATES = {RATE: (8e-2, 5e-2, 1e-7, 1e-8)}
LONG = dataclasses.replace(TRAIN, steps=260, evaluations=4)  # 65 steps: more than a chunk

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's files and sockets


def same_numbers(rows, others):
    """Rows of the same points have the same numbers, whichever program trained them.

    Trained alone or beside others, a point's floats are rounded at other places: 1e-4, as in
    the local engine's own tests.
    """

    def key(row):
        return row["config"], row["arm"], row["seed"], str(row.get("alpha"))

    found, expected = ({key(row): row for row in some} for some in (rows, others))
    assert len(rows) == len(found) and len(others) == len(expected)
    assert found.keys() == expected.keys()
    for name, row in found.items():
        assert row.keys() == expected[name].keys()
        for field, value in row.items():
            if isinstance(value, float) and field != "train_seconds":
                assert value == pytest.approx(expected[name][field], abs=1e-4), (name, field)
            elif field not in ("train_seconds", "checkpoint"):
                assert value == expected[name][field], (name, field)


def config_of(workdir, **changes):
    path = workdir / "some.txt"
    if not path.exists():
        write_trace(path, trace())
    place = dataclasses.replace(study().trace, paths=(str(path),))
    return study(**{"arms": ("no_kd",), "trace": place, **changes})


def local(config, axes, workdir):
    with RunLog(workdir) as log:
        return sweep.run_sweep(config, sweep.grid(axes), workdir, log)


def on_ray(config, axes, workdir, **settings):
    with RunLog(workdir) as log:
        points = sweep.grid(axes)
        return ray_sweep.run_ray_sweep(config, axes, points, workdir, log, RaySettings(**settings))


@pytest.fixture(scope="module")
def ray():
    """A cluster of two CPUs for the tests of this file."""
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
    with connected(cpus=2, environment={"JAX_PLATFORMS": "cpu"}) as found:
        yield found


@pytest.fixture
def no_ray(monkeypatch):
    """Fails what would connect to Ray."""
    monkeypatch.setattr(ray_sweep, "connected", None)


def test_the_table_is_that_of_the_local_engine(ray, tmp_path):
    config = config_of(tmp_path, arms=("marginal", "no_kd"))
    rows = on_ray(config, AXES, tmp_path / "ray")
    expected = local(config, AXES, tmp_path / "local")
    same_numbers(rows, expected)
    points = [row["point"] for row in rows if (row["arm"], row["seed"]) == ("no_kd", 0)]
    assert points == sweep.grid(AXES)  # in the order of the grid, whichever was done first
    table = (tmp_path / "ray/sweep.jsonl").read_text()
    assert sorted(map(json.dumps, rows)) == sorted(table.splitlines())
    for row in rows:
        assert row["checkpoint"] is None or (tmp_path / "ray" / row["checkpoint"]).is_dir()

    # Either engine goes on with what the other left, which is everything.
    assert len(local(config, AXES, tmp_path / "ray")) == len(rows)
    assert (tmp_path / "ray/sweep.jsonl").read_text() == table


def test_what_the_local_engine_left_is_not_run_again(no_ray, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
    config = config_of(tmp_path)
    rows = local(config, {RATE: (1e-2,)}, tmp_path)
    assert on_ray(config, {RATE: (1e-2,)}, tmp_path) == rows


def test_asha_stops_bad_points_which_the_table_says(ray, tmp_path, monkeypatch):
    entries = {"tokens": dataclasses.replace(ENTRY, student_train=LONG)}
    config = config_of(tmp_path, entries=entries)
    rows = on_ray(config, RATES, tmp_path, asha=True)
    stopped = [row for row in rows if "stopped" in row]
    assert {row["point"][RATE] for row in rows} == {*RATES[RATE]}
    assert {row["point"][RATE] for row in stopped} >= {1e-8}
    for row in stopped:
        assert row["f1"] is None and row["stopped"]["evaluation"] < row["stopped"]["of"] == 4
    assert len(finished(rows)) == 2 * (4 - len(stopped))
    best = sweep.pareto_front(rows)
    assert best and all("stopped" not in row for row in best)

    with monkeypatch.context() as patch:
        patch.setattr(ray_sweep, "connected", None)  # what was stopped stays so
        assert on_ray(config, RATES, tmp_path, asha=True) == rows
    whole = local(config, RATES, tmp_path)
    assert len(whole) == 8 and not any("stopped" in row for row in whole)


def test_optuna_draws_points_and_the_table_has_each_once(ray, tmp_path):
    entries = {"tokens": dataclasses.replace(ENTRY, student_train=LONG)}
    config = config_of(tmp_path, entries=entries)
    some = local(config, {WIDTH: (1,), RATE: (5e-2,)}, tmp_path)  # it may be drawn, too
    rows = on_ray(config, AXES, tmp_path, asha=True, optuna_trials=3, seed=1)
    points = {json.dumps(row["point"]) for row in rows}
    assert len(points) == 3
    table = (tmp_path / "sweep.jsonl").read_text().splitlines()
    assert len(table) == len({*table}) and {row["config"] for row in rows} <= {
        json.loads(line)["config"] for line in table
    }
    again = on_ray(config, AXES, tmp_path, asha=True, optuna_trials=3, seed=1)
    assert again == rows and (tmp_path / "sweep.jsonl").read_text().splitlines() == table
    assert some == [json.loads(line) for line in table[:2]]


def test_without_optuna_the_extra_is_named(monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "optuna":
            raise ImportError("No module named 'optuna'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"Optuna \(No module named 'optuna'\): pip install 'pa"):
        on_ray(config_of(tmp_path), AXES, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"entries": {"one": ENTRY, "two": ENTRY}},
        {"arms": ("no_kd", "cluster_input")},
        {"arms": ("kd",), "distill": dataclasses.replace(study().distill, temperatures=(1, 2))},
    ],
)
def test_points_of_several_programs_cannot_be_stopped(changes, no_ray, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
    with pytest.raises(ConfigError, match="--scheduler=asha: expected one entry"):
        on_ray(config_of(tmp_path, **changes), {"seeds": ((0,),)}, tmp_path, asha=True)


def test_where_there_is_no_room_it_is_told(ray, tmp_path):
    config = config_of(tmp_path)
    with pytest.raises(ConfigError, match="--gpus_per_trial=1: no node has so many; ask for less"):
        on_ray(config, AXES, tmp_path, gpus_per_trial=1)
    with RunLog(tmp_path) as log:
        settings = RaySettings(address="there:1", cpus_per_trial=64)
        ray_sweep._check_room([{"Alive": False, "Resources": {"CPU": 64}}], settings, log)
    assert "trials wait until one joins" in (tmp_path / "metrics.jsonl").read_text()


def test_a_workdir_that_nodes_do_not_see_is_told(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
    config = config_of(tmp_path)

    class Elsewhere(Experiment):
        def run(self, log):  # its trials left their rows on other disks
            return list(self.points)

    monkeypatch.setattr(ray_sweep, "Experiment", Elsewhere)
    monkeypatch.setattr(ray_sweep, "_VISIBLE_SECONDS", 0.0)
    monkeypatch.setattr(ray_sweep, "connected", one_node)
    with pytest.raises(RaySweepError) as caught:
        on_ray(config, AXES, tmp_path)
    assert str(caught.value) == (
        f"4 of 4 trials ended, but {tmp_path}/trials has no rows of them: expected a --workdir"
        " that all nodes see"
    )


@contextmanager
def one_node(address, environment):
    node = {"Alive": True, "Resources": {"CPU": 1.0}}
    yield SimpleNamespace(nodes=lambda: [node])


def test_trials_see_the_devices_that_they_asked_for():
    def environment(gpus):
        return ray_sweep._environment(RaySettings(gpus_per_trial=gpus))

    assert environment(0)["JAX_PLATFORMS"] == "cpu"
    assert environment(0.5)["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"
    for found in (environment(0.5), environment(2)):
        assert "JAX_PLATFORMS" not in found
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment(1)
