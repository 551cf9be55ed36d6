"""Regressors that encode a table into features and leave these to a learner."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from latency_jax.artifacts import to_json
from latency_jax.features import FeatureEncoder
from latency_jax.regressors.additive import Additive
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.regressors.roofline import Roofline
from latency_jax.table import Table

MARGIN = np.log(1000.0)  # how far outside of what training held a prediction can be


class Learner(Protocol):
    """Learns y f64[N] from features x f64[N, F]."""

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None: ...

    def predict(self, x: np.ndarray) -> np.ndarray: ...

    def to_files(self) -> dict[str, bytes]: ...

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        """Raises ValueError for files that are not its own or not for this many features."""


@dataclass(frozen=True)
class Recipe:
    """A learner, the features it gets, and whether it learns latency or what a base misses."""

    make_learner: Callable[[], Learner]
    wide: str = "raw"
    standardized: bool = False
    tiles: tuple[int, ...] = ()
    base: str = ""  # a name of BASES


BASES: dict[str, type[Regressor]] = {"roofline": Roofline, "additive": Additive}


class EncodedRegressor(Regressor):
    """Features in, log seconds out. With a base, log of the factor to what that predicts."""

    def __init__(self, name: str, kind: str, recipe: Recipe) -> None:
        super().__init__(name, kind)
        self.recipe = recipe
        self._encoder: FeatureEncoder | None = None
        self._learner = recipe.make_learner()
        self._base = BASES[recipe.base](recipe.base, kind) if recipe.base else None
        self._range = (-np.inf, np.inf)  # of log seconds, that predictions are kept in

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        recipe = self.recipe
        encoder = FeatureEncoder.fit(train, recipe.wide, recipe.standardized, recipe.tiles)
        targets = [np.log(table.latency) for table in (train, validation)]
        self._range = (float(targets[0].min() - MARGIN), float(targets[0].max() + MARGIN))
        if self._base is not None:
            self._base.fit(train, validation, seed)
            for target, table in zip(targets, (train, validation)):
                target -= np.log(self._base.predict(table))
        x, x_validation = encoder.transform(train), encoder.transform(validation)
        self._learner.fit(x, targets[0], x_validation, targets[1], seed)
        self._encoder = encoder
        return self

    def predict(self, table: Table) -> np.ndarray:
        if self._encoder is None:
            raise NotFittedError(self)
        log_latency = self._learner.predict(self._encoder.transform(table))
        if self._base is not None:
            log_latency = log_latency + np.log(self._base.predict(table))
        # Polynomials explode away from what they have seen; seconds stay finite.
        return np.exp(np.clip(log_latency, *self._range))

    def to_files(self) -> dict[str, bytes]:
        if self._encoder is None:
            raise NotFittedError(self)
        record = {"encoder": self._encoder.to_json(), "log_range": self._range}
        files = {"encoder.json": to_json(record), **self._learner.to_files()}
        return files if self._base is None else {**files, **self._base.to_files()}

    def restore(self, files: Mapping[str, bytes]) -> Self:
        try:
            record = json.loads(files["encoder.json"])
            encoder = FeatureEncoder.from_json(record["encoder"])
            low, high = record["log_range"]
            self._range = (float(low), float(high))
            self._learner.restore(files, len(encoder.names))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the files of a {self.name!r}: {error!r}") from error
        if encoder.kind != self.kind:
            raise ValueError(f"the encoder is of kind {encoder.kind!r}: expected {self.kind!r}")
        if self._base is not None:
            self._base.restore(files)
        self._encoder = encoder
        return self
