"""A point of a sweep as a trial on some machine: rows in a file, evaluations told as they come.

A trial that is killed with its node, or with all of the cluster, goes on from the last evaluation
of its program, as every study does; one that had finished is not run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax.checkpoints import CheckpointError, describe_checkpoint
from packd_jax.config import Config, from_config_dict
from packd_jax.run_log import RunLog
from packd_jax.sweep import Point, apply_point, identity, program_home, run_group
from packd_jax.sweep_table import read_rows, trial_rows, validation_score, write_trial

Report = Callable[[int, float, bool], None]  # evaluations done, mean F1 on validation, finished


def tune_trial(
    trial: Mapping[str, str], study: Mapping[str, Any], workdir: str, place: str, watch: bool
) -> None:
    """What Ray Tune runs: `trial["point"]` is the point as JSON.

    `study` is the sweep's configuration as JSON values, `place` the directory that relative
    paths start from, where a machine has it.
    """
    import ray
    from ray import tune

    if Path(place).is_dir():
        os.chdir(place)
    node = ray.get_runtime_context().get_node_id()[:8]

    def report(evaluation: int, score: float, done: bool) -> None:
        seen = {"evaluation": evaluation, "validation_f1": score, "finished": done}
        tune.report({**seen, "node": node})

    config = from_config_dict(Config, dict(study))
    run_trial(config, json.loads(trial["point"]), Path(workdir), report, watch=watch, place=node)


def run_trial(
    config: Config, point: Point, workdir: Path, report: Report, *, watch: bool, place: str = "here"
) -> None:
    """Trains a point, unless its rows are there, writes them, and reports its F1 on validation.

    With `watch` every evaluation is reported, one of them at most 64 steps late; `report` may
    raise SystemExit to stop the trial there. `place` is said in the trial's log.
    """
    one = apply_point(config, point)
    name, members = identity(one), [(point, one)]
    path = trial_rows(workdir, name)
    if not path.exists():
        students = program_home(members, workdir) / next(iter(one.entries)) / "students"
        with TrialLog(path.parent, students, report if watch else None) as log:
            log.say(f"trial {name} runs on node {place}, process {os.getpid()}: {point}")
            write_trial(workdir, name, run_group(members, workdir, log))
    report(evaluation_count(one), validation_score(read_rows(path)), True)


def evaluation_count(config: Config) -> int:
    """How often the students of the first entry are looked at on validation."""
    return next(iter(config.entries.values())).student_train.evaluations


class TrialLog(RunLog):
    """The log of a trial, which reports what the students reach at each evaluation.

    `students` holds the state of their programs, which is where the evaluations are read.
    """

    def __init__(self, workdir: Path, students: Path, report: Report | None) -> None:
        super().__init__(workdir)
        self._students, self._report = students, report

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Any]:
        """As RunLog.stage."""
        with super().stage(name, total, done) as progress:
            kind, _, program = name.partition(" ")
            if kind != "students" or self._report is None:
                yield progress
                return
            yield _Watched(progress, self._students / program / "latest", self._report)


class _Watched:
    """A progress that looks, whenever it is called, whether another evaluation was kept."""

    def __init__(self, progress: Callable[..., None], latest: Path, report: Report) -> None:
        self._progress, self._latest, self._report = progress, latest, report
        self._seen = 0  # modification time in ns

    def __call__(self, done: int, **values: Any) -> None:
        self._progress(done, **values)
        try:
            changed = self._latest.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self._seen:
            return
        self._seen = changed
        try:
            scores = describe_checkpoint(self._latest).meta["info"]["f1"]
        except CheckpointError:  # damaged by a kill: the next evaluation replaces it
            return
        self._report(len(scores), float(np.mean(np.max(scores, axis=0))), False)
