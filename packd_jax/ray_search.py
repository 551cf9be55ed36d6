"""Optuna's TPE over the values of a sweep's axes, as a searcher of Ray Tune."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher

from packd_jax.json_files import write_json

_ATTEMPTS = 32  # draws that may fall on points that were drawn before


def _positions(values: Sequence[Any]) -> BaseDistribution:
    """Places on an axis: near each other where the values are numbers in order."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and numbers in (sorted(numbers), sorted(numbers)[::-1]):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution([*range(len(values))])


class DistinctTPE(Searcher):
    """Draws `count` different points; what trials reach on validation guides the next draws.

    A point is drawn once: its trial is the same whenever it is run. Trials that were stopped
    early count as pruned. State is JSON, so that a sweep goes on after its driver has died;
    what is drawn then is a function of the seed and of the trials so far.
    """

    def __init__(self, axes: Mapping[str, Sequence[Any]], count: int, seed: int) -> None:
        super().__init__(metric="validation_f1", mode="max")
        self._axes, self._seed = {name: list(values) for name, values in axes.items()}, seed
        self._everything = list(itertools.product(*(range(len(v)) for v in self._axes.values())))
        self._count = min(count, len(self._everything))
        self._space = {name: _positions(values) for name, values in self._axes.items()}
        self._drawn: dict[str, dict[str, Any]] = {}  # trial id -> its record, see `save`
        self._open: dict[str, optuna.Trial] = {}
        self._begin()

    def suggest(self, trial_id: str) -> Any:
        """The point of a new trial as JSON under "point"; FINISHED when all were drawn."""
        if len(self._drawn) >= self._count:
            return Searcher.FINISHED
        taken = {tuple(record["place"]) for record in self._drawn.values()}
        for attempt in range(_ATTEMPTS + 1):
            if attempt == _ATTEMPTS:  # it insists on points that are known: any other one
                rest = [place for place in self._everything if place not in taken]
                chosen = rest[self._random.integers(len(rest))]
                self._study.enqueue_trial(dict(zip(self._axes, chosen)))
            trial = self._study.ask(self._space)
            place = tuple(trial.params[name] for name in self._axes)
            if place not in taken:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._open[trial_id] = trial
        self._drawn[trial_id] = {"place": list(place), "seen": {}, "value": None, "state": None}
        point = {name: values[i] for (name, values), i in zip(self._axes.items(), place)}
        return {"point": json.dumps(point)}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Notes an evaluation; a trial that is tried again may tell one twice."""
        seen = self._drawn[trial_id]["seen"]
        if trial_id in self._open and str(result["evaluation"]) not in seen:
            seen[str(result["evaluation"])] = result["validation_f1"]
            self._open[trial_id].report(result["validation_f1"], result["evaluation"])

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells Optuna what the trial reached, if it did not fail."""
        record = self._drawn[trial_id]
        if record["state"] is not None:
            return
        value = None if error or not result else result.get("validation_f1")
        if value is None:
            state = TrialState.FAIL
        else:
            state = TrialState.COMPLETE if result and result["finished"] else TrialState.PRUNED
        record |= {"value": value, "state": state.name}
        trial = self._open.pop(trial_id)
        if state == TrialState.COMPLETE:
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=state)

    def save(self, checkpoint_path: str) -> None:
        """Writes the seed and, by trial, place on the axes, values by evaluation, and outcome."""
        write_json(checkpoint_path, {"seed": self._seed, "drawn": self._drawn})

    def restore(self, checkpoint_path: str) -> None:
        """Goes on from what `save` wrote."""
        found = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        self._drawn = found["drawn"]
        self._begin()
        for trial_id, record in self._drawn.items():
            params = dict(zip(self._axes, record["place"]))
            if record["state"] is None:
                self._study.enqueue_trial(params)
                self._open[trial_id] = trial = self._study.ask(self._space)
                for step, value in record["seen"].items():
                    trial.report(value, int(step))
            else:
                self._study.add_trial(self._past(params, record))

    def _begin(self) -> None:
        """An empty study, whose draws are others than those before it."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        state = np.random.SeedSequence([self._seed, len(self._drawn)])
        sampler = optuna.samplers.TPESampler(seed=int(state.generate_state(1)[0]))
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._random = np.random.default_rng(state)
        self._open = {}

    def _past(self, params: dict[str, int], record: Mapping[str, Any]) -> FrozenTrial:
        state = TrialState[record["state"]]
        return create_trial(
            state=state,
            value=record["value"] if state == TrialState.COMPLETE else None,
            params=params,
            distributions=self._space,
            intermediate_values={int(step): value for step, value in record["seen"].items()},
        )
