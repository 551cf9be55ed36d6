"""A sweep on a Ray cluster: every point a trial, wherever there is room for it.

The table is that of `sweep.run_sweep`, and either goes on where the other stopped. Whatever dies
is made good: a trial is tried again when its node is lost, and the same command restores the
experiment of a driver that was killed. A trial's result is its file in `workdir/trials`, which
is read once, so that no trial is lost and none is counted twice. The workdir must be a directory
that all nodes see.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from packd_jax.config import Config, ConfigError, to_json_dict
from packd_jax.ray_cluster import connected, require_ray
from packd_jax.ray_experiment import Experiment, RaySettings, RaySweepError
from packd_jax.run_log import RunLog
from packd_jax.splits import load_sources
from packd_jax.students import TEACHERS_OF, candidates
from packd_jax.sweep import Point, check_points, grid, identity
from packd_jax.sweep_table import collect, finished, settled

_VISIBLE_SECONDS = 90.0  # in which network file systems show what another machine wrote


def run_ray_sweep(
    config: Config,
    axes: Mapping[str, Sequence[Any]],
    points: Sequence[Point],
    workdir: Path,
    log: RunLog,
    settings: RaySettings,
) -> list[dict[str, Any]]:
    """Runs the points that `workdir/sweep.jsonl` lacks; returns the rows of all, in their order.

    With `settings.optuna_trials` the points are drawn from `axes` instead. Rows of points that
    ASHA stopped say so (`sweep_table`). Raises ConfigError for what cannot run, without Ray
    among others, and RaySweepError for trials that failed; the same call tries those again.
    """
    require_ray()
    _require_search()
    workdir = workdir.absolute()
    if settings.optuna_trials:
        points = grid(axes)
    named = {identity(one): point for point, one in check_points(config, points)}
    if settings.asha:
        check_stoppable(config)
    rows = collect(workdir)
    todo = _missing(named, rows, settings)
    if not todo and not settings.optuna_trials:
        return _of(named, rows)
    load_sources(config.trace, workdir)  # recorded once; mistakes are told before trials start
    name = _experiment_name(config, list(named), settings)
    with connected(settings.address, environment=_environment(settings)) as ray:
        _check_room(ray.nodes(), settings, log)
        for number in itertools.count(1):  # the first, unless what it left was taken away
            experiment = Experiment(config, axes, todo, f"{name}-{number}", workdir, settings)
            restored = experiment.is_there()
            ran = experiment.run(log)
            if settings.optuna_trials:
                named = {one: point for one, point in named.items() if one in ran}
            rows = _collect_all(named, workdir, settings, 0 if restored else _VISIBLE_SECONDS)
            todo = _missing(named, rows, settings)
            if not todo:
                return _of(named, rows)
            if not restored:
                raise RaySweepError(
                    f"{len(todo)} of {len(named)} trials ended, but {workdir}/trials has no rows of"
                    " them: expected a --workdir that all nodes see"
                )
    raise AssertionError("experiments are counted without an end")


def check_stoppable(config: Config) -> None:
    """ConfigError unless the students of a point are one program, whose evaluations compare."""
    first = config.distill.temperatures[0]
    programs = {
        (c.temperature if c.arm in TEACHERS_OF else first, c.cluster_input)
        for arm in config.arms
        for c in candidates(arm, config)
    }
    if len(config.entries) != 1 or len(programs) != 1:
        raise ConfigError(
            "--scheduler=asha: expected one entry whose students train as one program; given"
            f" config.entries = {', '.join(config.entries)} and {len(programs)} programs each:"
            " choose a config of one entry, one temperature, and arms without cluster_input"
        )


def _require_search() -> None:
    try:
        import optuna  # noqa: F401
        from ray import tune  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"sweeps on Ray need Ray Tune and Optuna ({error}): pip install 'packd-jax[ray]'"
        ) from None


def _missing(
    named: Mapping[str, Point], rows: Sequence[Mapping[str, Any]], settings: RaySettings
) -> dict[str, Point]:
    """The points without rows; one that ASHA stopped has its row only where ASHA is asked for."""
    done = {row["config"] for row in (rows if settings.asha else finished(rows))}
    return {one: point for one, point in named.items() if one not in done}


def _collect_all(
    named: Mapping[str, Point], workdir: Path, settings: RaySettings, patience_s: float
) -> list[dict[str, Any]]:
    """All rows, once those of the points are there or patience ends."""
    deadline = time.monotonic() + patience_s
    while True:
        rows = collect(workdir)
        if not _missing(named, rows, settings) or time.monotonic() >= deadline:
            return rows
        time.sleep(1)


def _of(named: Mapping[str, Point], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    order = {one: place for place, one in enumerate(named)}
    own = settled([row for row in rows if row["config"] in order])
    return sorted(own, key=lambda row: order[row["config"]])


def _experiment_name(config: Config, names: Sequence[str], settings: RaySettings) -> str:
    """Another sweep is another experiment, which nothing is restored from."""
    chosen = [settings.asha, settings.optuna_trials, settings.seed]
    text = json.dumps([to_json_dict(config), *names, *chosen], sort_keys=True)
    return "sweep-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def _environment(settings: RaySettings) -> dict[str, str]:
    """Variables of workers: what JAX may use, and where it keeps what it compiles."""
    found = {}
    cache = jax.config.values.get("jax_compilation_cache_dir")
    if cache:
        found["JAX_COMPILATION_CACHE_DIR"] = os.path.abspath(cache)
    if not settings.gpus_per_trial:
        found["JAX_PLATFORMS"] = "cpu"
    elif settings.gpus_per_trial < 1:
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * settings.gpus_per_trial:.3f}"
    return found


def _check_room(nodes: Sequence[Mapping[str, Any]], settings: RaySettings, log: RunLog) -> None:
    """Says that trials have to wait, or that they would wait forever."""
    wanted = {"CPU": settings.cpus_per_trial, "GPU": settings.gpus_per_trial}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(own.get(k, 0) >= v for k, v in wanted.items()) for own in alive):
        return
    told = (
        f"--cpus_per_trial={settings.cpus_per_trial:g}"
        f" --gpus_per_trial={settings.gpus_per_trial:g}: no node has so many"
    )
    if settings.address is None:
        raise ConfigError(f"{told}; ask for less, or name a cluster with --address")
    log.say(f"warning: {told} now; trials wait until one joins")
