"""MEDN as regressors: one for each kind, and an encoder that all of them share.

A blend of many predicts best and a single network predicts fast, so a single one can learn from a
blend what it would say, also about rows that nobody measured (Hinton et al., arXiv 1503.02531).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np

from latency_jax import medn_train
from latency_jax.artifacts import from_npz, to_json, to_npz
from latency_jax.devices import COLUMNS, NAME
from latency_jax.features import GENERIC, TILES, FeatureEncoder
from latency_jax.medn import MednConfig
from latency_jax.medn_train import Rows
from latency_jax.regressors.additive import Additive
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.regressors.encoded import MARGIN
from latency_jax.regressors.network import Network, extracted
from latency_jax.regressors.registry import Entry, make_regressor, register_regressor
from latency_jax.table import Table, joined

_PASSES = 170  # over the rows of the largest kind, within these steps
_LEAST_STEPS = 2000
_IMAGINED = 4  # rows that a teacher is asked about, for each one that was measured


@dataclass(frozen=True)
class MednRecipe:
    """The networks that predict, of what, and whom they ask if not measurements."""

    network: MednConfig
    teacher: str = ""  # the name of a regressor
    base: bool = True  # they predict the factor to a fitted sum of costs, where a kind has costs


RECIPES = {
    "mlp": MednRecipe(MednConfig(shared=False)),
    "mlp_ensemble": MednRecipe(MednConfig(shared=False, members=8)),
    "medn": MednRecipe(MednConfig()),
    "medn_ensemble": MednRecipe(MednConfig(members=8)),
    "medn_distilled": MednRecipe(MednConfig(), teacher="blend"),
    "medn_reconstruct": MednRecipe(MednConfig(reconstruct=0.1)),
    "medn_plain": MednRecipe(MednConfig(), base=False),
}


class MednRegressor(Regressor):
    """The part of a MEDN that predicts one kind.

    `fit` knows this kind alone and so gives a single-task network; `fit_together` is for all.
    """

    def __init__(self, name: str, kind: str, recipe: MednRecipe) -> None:
        super().__init__(name, kind)
        self.recipe = recipe
        self._base: Additive | None = None
        self._encoder: FeatureEncoder | None = None
        self._network: Network | None = None
        self._scale = (0.0, 1.0)  # mean and deviation in training of what it predicts
        self._range = (-np.inf, np.inf)  # of log seconds, that predictions are kept in

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        fit_together([self], [train], [validation], seed)
        return self

    def predict(self, table: Table) -> np.ndarray:
        if self._encoder is None or self._network is None:
            raise NotFittedError(self)
        mean, deviation = self._scale
        log_latency = mean + deviation * self._network.predict(self._encoder.transform(table))
        if self._base is not None:
            log_latency += np.log(self._base.predict(table))
        return np.exp(np.minimum(np.maximum(log_latency, self._range[0]), self._range[1]))

    def to_files(self) -> dict[str, bytes]:
        """The encoder stands in a file of its own, which other kinds have as well."""
        if self._encoder is None or self._network is None:
            raise NotFittedError(self)
        record = {
            "encoder": self._encoder.to_json(),
            "log_scale": self._scale,
            "log_range": self._range,
        }
        return {
            **({} if self._base is None else self._base.to_files()),
            "medn.json": to_json(record),
            "own.npz": to_npz(self._network.own),
            "encoder.npz": to_npz(self._network.encoder),
        }

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            record = json.loads(files["medn.json"])
            encoder = FeatureEncoder.from_json(record["encoder"])
            network = Network(from_npz(files["own.npz"]), from_npz(files["encoder.npz"]))
            mean, deviation = map(float, record["log_scale"])
            low, high = map(float, record["log_range"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the files of a {self.name!r}: {error!r}") from error
        if encoder.kind != self.kind or len(encoder.names) != network.inputs:
            raise ValueError(
                f"features of {encoder.kind!r} and a network of {network.inputs} inputs: expected "
                f"{self.kind!r} and {len(encoder.names)}"
            )
        base = None
        if "additive.json" in files:
            base = Additive("additive", self.kind).restore(files)
        self._take(base, encoder, network, (mean, deviation), (low, high))
        return self

    def _take(
        self,
        base: Additive | None,
        encoder: FeatureEncoder,
        network: Network,
        scale: tuple[float, float],
        log_range: tuple[float, float],
    ) -> None:
        self._base, self._encoder, self._network = base, encoder, network
        self._scale, self._range = scale, log_range


def fit_together(
    regressors: Sequence[MednRegressor],
    train: Sequence[Table],
    validation: Sequence[Table],
    seed: int,
    teachers: Sequence[Regressor] | None = None,
) -> None:
    """Fits the regressors of several kinds, all of one recipe, as one network.

    `teachers`, one for each kind, are fitted already; without them a recipe that names a teacher
    fits it here. The same tables and seed give the same predictions.
    """
    recipe = regressors[0].recipe
    if any(r.recipe != recipe for r in regressors):
        raise ValueError("regressors of different recipes: fit those of one together")
    if recipe.teacher and teachers is None:
        teachers = [
            make_regressor(recipe.teacher, regressor.kind).fit(table, check, seed)
            for regressor, table, check in zip(regressors, train, validation)
        ]
    bases = [_base(table, seed) if recipe.base else None for table in train]
    encoders = [FeatureEncoder.fit(t, "log", standardized=True, tiles=TILES) for t in train]
    scales = [_scale(_targets(*of_kind)) for of_kind in zip(bases, train)]
    parts = list(zip(bases, encoders, scales))
    taught = train
    if recipe.teacher and teachers is not None:
        rng = np.random.default_rng(seed)
        taught = [_answered(*of_kind, rng) for of_kind in zip(teachers, train)]
    rows = [_rows(*part, table) for part, table in zip(parts, taught)]
    checks = [_rows(*part, table) for part, table in zip(parts, validation)]
    config = _for_rows(recipe.network, max(table.rows for table in train))
    fitted = medn_train.fit(rows, checks, config, seed)
    for k, (regressor, (base, encoder, scale), table) in enumerate(zip(regressors, parts, train)):
        network = extracted(fitted.params, k, len(encoder.names), encoder.sizes)
        low, high = np.log(table.latency.min()), np.log(table.latency.max())
        regressor._take(base, encoder, network, scale, (float(low - MARGIN), float(high + MARGIN)))


def imagined(table: Table, rows: int, rng: np.random.Generator) -> Table:
    """Rows whose columns each come from one of two rows of the table; their latency says nothing.

    Every value then is one that was measured, and most pairs of values are, too. The columns of a
    device stay together.
    """
    parents = rng.integers(0, table.rows, (2, rows))
    columns = {
        name: column[
            parents[0]
            if name in (NAME, *COLUMNS)
            else np.where(rng.random(rows) < 0.5, parents[0], parents[1])
        ]
        for name, column in table.columns.items()
    }
    return Table(table.kind, columns, np.ones(rows))


def _base(train: Table, seed: int) -> Additive | None:
    return (
        None if train.kind == GENERIC else Additive("additive", train.kind).fit(train, train, seed)
    )


def _answered(teacher: Regressor, train: Table, rng: np.random.Generator) -> Table:
    """What the teacher says of the rows of `train` and of imagined ones."""
    asked = imagined(train, _IMAGINED * train.rows, rng)
    return joined([replace(t, latency=teacher.predict(t)) for t in (train, asked)])


def _targets(base: Additive | None, table: Table) -> np.ndarray:
    """Log seconds f64[N], less those of the base."""
    log_latency = np.log(table.latency)
    return log_latency if base is None else log_latency - np.log(base.predict(table))


def _scale(targets: np.ndarray) -> tuple[float, float]:
    """Mean and deviation, with which networks learn numbers around 0."""
    return float(targets.mean()), float(max(targets.std(), 1e-6))


def _rows(
    base: Additive | None, encoder: FeatureEncoder, scale: tuple[float, float], table: Table
) -> Rows:
    mean, deviation = scale
    targets = (_targets(base, table) - mean) / deviation
    features = encoder.transform(table)
    return Rows(features.astype(np.float32), targets.astype(np.float32), encoder.sizes)


def _for_rows(config: MednConfig, rows: int) -> MednConfig:
    """As many steps as the rows are worth: few rows are soon learnt by heart."""
    steps = max(_LEAST_STEPS, _PASSES * rows // config.batch_size)
    return replace(config, steps=min(config.steps, steps))


for _name, _recipe in RECIPES.items():
    if not _recipe.teacher:
        register_regressor(_name, Entry(partial(MednRegressor, recipe=_recipe)))
