"""The study: fit many regressors over several splits, select among them, make a LatencyModel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from latency_jax.columns import GENERIC
from latency_jax.devices import NAME, Device
from latency_jax.fitting.candidates import Fit, fit_all
from latency_jax.latency_model import KindModel, LatencyModel, kind_model
from latency_jax.regressors import regressor_names
from latency_jax.selection import MODES, Goal, Selection, best_single, front, only, select
from latency_jax.steadying import steadied
from latency_jax.table import (
    Splits,
    Table,
    TableError,
    split,
    split_largest,
    split_range,
    split_text,
)
from packd_jax.config.checks import require

ABLATIONS = (
    "mlp_ensemble",
    "medn_reconstruct",
    "medn_plain",
    "mean_blend",
)  # fitted on request: they answer a question only
_VALIDATION_ROWS = 300  # wanted; a tenth to a quarter of what is not for testing


@dataclass(frozen=True)
class FitConfig:
    """What is fitted, on which splits, and what is then selected."""

    regressors: tuple[str, ...] = ()  # empty: all that some kind can have, less the ABLATIONS
    split_seed: int = 42
    seeds: int = 1  # splits, of seeds from split_seed on
    goal: Goal = Goal()
    test_share: float = 0.2
    without: tuple[str, ...] = ()  # columns that no regressor is told
    # What test rows are: a random share; "largest", the share of most work; those where a column
    # lies in a range, as "cpu_utilization=0.4:0.6"; or those of a device, as "device=Tesla T4".
    held_out: str = "random"

    def __post_init__(self) -> None:
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(0 < self.test_share < 1, "test_share", self.test_share, "more than 0, less than 1")
        expected = '"random", "largest", "COLUMN=LOW:HIGH" or "device=NAME"'
        is_known = self.held_out in ("random", "largest") or _range(self.held_out) is not None
        is_known |= _device(self.held_out) is not None
        require(is_known, "held_out", self.held_out, expected)

    def names(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """The regressors to fit. Raises ConfigError for one that no kind knows."""
        known = tuple(dict.fromkeys(name for kind in kinds for name in regressor_names(kind)))
        for name in self.regressors:
            require(name in known, "regressors", name, f"one of {', '.join(known)}")
        # With one kind, one network is the other.
        idle = (*ABLATIONS, "mlp") if len(kinds) == 1 else ABLATIONS
        return self.regressors or tuple(name for name in known if name not in idle)


class Trial(NamedTuple):
    """All of one split seed."""

    seed: int
    splits: dict[str, Splits]  # by kind
    fits: list[Fit]
    sets: dict[str, Selection]  # by mode, "best_single", and by regressors that all kinds have
    front: list[Selection]


def run_trials(
    tables: Mapping[str, Table],
    config: FitConfig,
    on_fit: Callable[[int, list[Fit]], None] = lambda seed, fits: None,
) -> list[Trial]:
    """Fits everything on every split. Validation alone decides; test rows are scored at the end.

    Random test rows are those of scikit-learn's `train_test_split` with that seed as
    `random_state`. Raises ConfigError for regressors, and TableError for rows or columns, that
    are not there.
    """
    names = config.names(list(tables))
    tables = {kind: _less(table, config.without) for kind, table in tables.items()}
    trials = []
    for seed in range(config.split_seed, config.split_seed + config.seeds):
        splits = {kind: _split(table, seed, config) for kind, table in tables.items()}
        fits = fit_all(splits, names, seed, partial(on_fit, seed))
        candidates = steadied([fit.candidate for fit in fits], [fit.halves for fit in fits])
        goal = config.goal
        sets = {mode: select(candidates, replace(goal, mode=mode)) for mode in MODES}
        sets["best_single"] = best_single(candidates, goal)
        singles = {name: only(candidates, name, goal) for name in names}
        sets |= {name: single for name, single in singles.items() if single is not None}
        trials.append(Trial(seed, splits, fits, sets, front(candidates, goal)))
    return trials


def make_model(
    trial: Trial,
    mode: str,
    environment: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    devices: Sequence[Device] = (),
    device: Device | None = None,
) -> LatencyModel:
    """The regressors that a mode selected in one trial, with intervals and domains.

    Of `devices`, which the columns tell, those that were learnt, or of the one `device`.
    """
    models = kind_models(trial, trial.sets[mode])
    learnt = {name for model in models.values() for name in model.domain.categories.get(NAME, ())}
    known = {each.name: each for each in devices if each.name in learnt}
    return LatencyModel(models, environment, None, about or {}, known, device)


def kind_models(trial: Trial, selection: Selection) -> dict[str, KindModel]:
    """By kind. Training rows make the domain and validation rows the interval."""
    regressors = {(fit.candidate.kind, fit.candidate.name): fit.regressor for fit in trial.fits}
    models = {}
    for kind, name in selection.names.items():
        splits = trial.splits[kind]
        models[kind] = kind_model(regressors[kind, name], splits.train, splits.validation)
    return models


def _split(table: Table, seed: int, config: FitConfig) -> Splits:
    """Small tables give a larger share to validation, lest it says nothing."""
    rest = table.rows * (1 - config.test_share)
    validation_share = float(np.clip(_VALIDATION_ROWS / rest, 0.1, 0.25))
    if config.held_out == "random":
        return split(table, seed, config.test_share, validation_share)
    if config.held_out == "largest":
        return split_largest(table, _work(table), config.test_share, seed, validation_share)
    if name := _device(config.held_out):
        return split_text(table, NAME, name, seed, validation_share)
    held_out = _range(config.held_out)
    assert held_out is not None  # as __post_init__ demands
    return split_range(table, *held_out, seed, validation_share)


def _range(text: str) -> tuple[str, float, float] | None:
    """(column, low, high) of "COLUMN=LOW:HIGH"; None for anything else."""
    column, _, bounds = text.partition("=")
    try:
        low, high = map(float, bounds.split(":"))
    except ValueError:
        return None
    return (column, low, high) if column and low <= high else None


def _device(text: str) -> str | None:
    """The name of "device=NAME"; None for anything else."""
    column, _, name = text.partition("=")
    return name if column == NAME and name else None


def _work(table: Table) -> np.ndarray:
    """FLOPs and bytes f64[N], by which rows are large."""
    if table.kind == GENERIC:
        raise TableError(f"the kind {GENERIC!r} has no FLOPs: hold out the range of a column")
    work: np.ndarray = table.amounts[:4].sum(axis=0)
    return work


def _less(table: Table, without: Sequence[str]) -> Table:
    known = {name: column for name, column in table.columns.items() if name not in without}
    return replace(table, columns=known)
