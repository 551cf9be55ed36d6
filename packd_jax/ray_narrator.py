"""What the driver of a sweep on Ray tells, and what it does when a trial is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback

from packd_jax.run_log import RunLog
from packd_jax.sweep_table import collect


class Narrator(Callback):
    """Says which trials start, end, fail and are tried again; brings their rows into the table.

    `total` trials are expected; `keep_stopped(trial)` is called for one that a scheduler stopped.
    """

    def __init__(
        self, log: RunLog, workdir: Path, total: int, keep_stopped: Callable[[Any], None]
    ) -> None:
        self._log, self._workdir = log, workdir
        self._total, self._keep_stopped = total, keep_stopped

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(trial, "starts")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        if result["finished"]:
            end = "ends"
            collect(self._workdir)
        else:
            end = f"stopped at evaluation {result['evaluation']}"
            self._keep_stopped(trial)
        done = sum(one is trial or one.status == "TERMINATED" for one in trials)
        self._say(
            trial,
            f"{end} on node {result['node']}, validation F1 {result['validation_f1']:.4f};"
            f" {done} of {max(self._total, len(trials))}",
        )

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(trial, f"is tried again, as it failed: {last_line(trial)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(trial, f"failed for good: {last_line(trial)}")

    def _say(self, trial: Any, what: str) -> None:
        point = json.loads(trial.config["point"])
        values = ", ".join(f"{key.split('.')[-1]}={value}" for key, value in point.items())
        self._log.say(f"trial {values}: {what}")


def last_line(trial: Any) -> str:
    """The last line of what a trial failed with."""
    path = trial.error_file
    lines = Path(path).read_text().strip().splitlines() if path and Path(path).exists() else []
    return lines[-1].strip() if lines else "no error is known"
