"""An experiment of Ray Tune: points as trials, restored where the storage has it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packd_jax.config import Config, ConfigError, to_json_dict
from packd_jax.ray_cluster import variables
from packd_jax.ray_trial import evaluation_count, tune_trial
from packd_jax.run_log import RunLog
from packd_jax.sweep import Point, apply_point, identity
from packd_jax.sweep_table import append_rows, collect, finished, trial_rows, write_trial

_TUNE = {
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # a driver that dies forgets a second of what it knew
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the log is ours
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer one prints a table whatever the verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the storage
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is a KeyboardInterrupt, as everywhere
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class RaySweepError(RuntimeError):
    """Trials that failed as often as they may: which points, and the last error."""


@dataclasses.dataclass(frozen=True)
class RaySettings:
    """Where trials run, and which.

    `gpus_per_trial` below 1 shares a GPU, with that part of its memory each; without GPUs trials
    run on CPUs, whatever a node has.
    """

    address: str | None = None  # host:port of a cluster; None: this machine
    storage: str | None = None  # of the experiment's state, a directory or URI; None: workdir/ray
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    max_failures: int = 3  # of a trial, before it is given up
    asha: bool = False  # stop the worse half of the trials at evaluations 1, 2, 4, ...
    optuna_trials: int = 0  # draw so many points by Optuna's TPE; 0: run those given
    seed: int = 0  # of these draws

    def __post_init__(self) -> None:
        if self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise ConfigError(
                f"--gpus_per_trial={self.gpus_per_trial}: expected a part of one GPU, or whole ones"
            )


class Experiment:
    """The trials of some points, or of points that Optuna draws, under one name in the storage."""

    def __init__(
        self,
        config: Config,
        axes: Mapping[str, Sequence[Any]],
        points: Mapping[str, Point],
        name: str,
        workdir: Path,
        settings: RaySettings,
    ) -> None:
        self.config, self.axes, self.points, self.name = config, axes, points, name
        self.workdir, self.settings = workdir, settings
        self._storage = settings.storage or str(workdir / "ray")
        if "://" not in self._storage:
            self._storage = os.path.abspath(self._storage)

    def run(self, log: RunLog) -> list[str]:
        """Runs, or goes on; returns the identities of its points, which have rows now.

        Raises RaySweepError for trials that failed.
        """
        from ray import tune

        from packd_jax.ray_narrator import Narrator

        drawn = self.settings.optuna_trials
        total = drawn or len(self.points)
        there = self.is_there()
        log.say(
            f"experiment {self.name}: {'restored from' if there else 'new in'} {self._storage};"
            f" {total} points to {'draw' if drawn else 'run'}"
        )
        if drawn:
            self._hand_over()
        again: Any = tune.ResumeConfig.ResumeType.RESUME
        with variables(_TUNE):
            analysis = tune.run(
                self._trainable(),
                name=self.name,
                storage_path=self._storage,
                config=self._space(),
                num_samples=drawn or 1,
                search_alg=self._searcher(),
                scheduler=self._scheduler(),
                resources_per_trial={
                    "cpu": self.settings.cpus_per_trial,
                    "gpu": self.settings.gpus_per_trial,
                },
                max_failures=self.settings.max_failures,
                # What failed for good is tried again: the user asked for it by the same command.
                resume_config=tune.ResumeConfig(errored=again) if there else None,
                callbacks=[Narrator(log, self.workdir, total, self.keep_stopped)],
                trial_dirname_creator=str,
                reuse_actors=True,
                raise_on_failed_trial=False,
                verbose=0,
            )
        return self._account(analysis.trials)

    def _trainable(self) -> Any:
        return functools.partial(
            tune_trial,
            study=to_json_dict(self.config),
            workdir=str(self.workdir),
            place=os.getcwd(),
            watch=self.settings.asha,
        )

    def _space(self) -> dict[str, Any]:
        from ray import tune

        if self.settings.optuna_trials:
            return {}
        return {"point": tune.grid_search([json.dumps(point) for point in self.points.values()])}

    def _searcher(self) -> Any:
        if not self.settings.optuna_trials:
            return None
        from packd_jax.ray_search import DistinctTPE

        return DistinctTPE(self.axes, self.settings.optuna_trials, self.settings.seed)

    def _scheduler(self) -> Any:
        if not self.settings.asha:
            return None
        from ray.tune.schedulers import ASHAScheduler

        return ASHAScheduler(
            time_attr="evaluation",
            metric="validation_f1",
            mode="max",
            max_t=max(self._evaluations(point) for point in self.points.values()),
            reduction_factor=2,
        )

    def _evaluations(self, point: Point) -> int:
        return evaluation_count(apply_point(self.config, point))

    def is_there(self) -> bool:
        """Whether the storage has this experiment, which an earlier driver began."""
        from pyarrow import fs

        system, path = fs.FileSystem.from_uri(self._storage)
        place = fs.FileSelector(f"{path}/{self.name}", allow_not_found=True)
        return any(
            info.base_name.startswith("experiment_state-") for info in system.get_file_info(place)
        )

    def _hand_over(self) -> None:
        """Gives what another sweep of the workdir finished to trials of the same points."""
        rows = finished(collect(self.workdir))
        for one in self.points:
            own = [row for row in rows if row["config"] == one]
            if own and not trial_rows(self.workdir, one).exists():
                write_trial(self.workdir, one, own)

    def keep_stopped(self, trial: Any) -> None:
        """Adds the row of a trial that ASHA stopped, if its point has none."""
        point = json.loads(trial.config["point"])
        one, result = identity(apply_point(self.config, point)), trial.last_result
        if one in {row["config"] for row in collect(self.workdir)}:
            return
        (entry,) = self.config.entries
        row = {"point": point, "config": one, "entry": entry, "arm": None, "seed": None, "f1": None}
        stopped = {"evaluation": result["evaluation"], "of": self._evaluations(point)}
        row |= {"validation_f1": result["validation_f1"], "stopped": stopped}
        append_rows(self.workdir / "sweep.jsonl", [row])

    def _account(self, trials: Sequence[Any]) -> list[str]:
        """The identities of the trials' points, if none failed."""
        names, failed = [], []
        for trial in trials:
            point = json.loads(trial.config["point"])
            names.append(identity(apply_point(self.config, point)))
            if trial.status == "ERROR":
                failed.append((point, trial))
        if failed:
            from packd_jax.ray_narrator import last_line

            point, trial = failed[-1]
            raise RaySweepError(
                f"{len(failed)} of {len(trials)} trials failed, each more than"
                f" {self.settings.max_failures} times; the last, {point}: {last_line(trial)};"
                " all others are in the table, and the same command tries these again"
            )
        return names
