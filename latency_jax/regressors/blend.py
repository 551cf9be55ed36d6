"""A weighted mean of other regressors, chosen on validation rows.

Regressors err differently, so a mean of several is often nearer than the best of them. Which, and
with what weight, is greedy forward selection with replacement: Caruana et al., "Ensemble selection
from libraries of models", ICML 2004.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import numpy as np

from latency_jax.artifacts import to_json
from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.regressors.medn import RECIPES, MednRegressor
from latency_jax.regressors.registry import (
    Entry,
    make_regressor,
    register_regressor,
    regressor_names,
)
from latency_jax.table import Table

MEMBERS = ("medn_ensemble", "residual_hist_gb", "hist_gb")  # of one that is fitted by itself
MEAN_MEMBERS = ("roofline", "additive", "hist_gb", "residual_hist_gb", "additive_hist_gb")
_DRAWS = 20  # so weights are multiples of a twentieth


class Blend(Regressor):
    """exp of the weighted mean of what its members say of log seconds."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(name, kind)
        self._members: list[tuple[float, Regressor]] = []

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        """Fits MEMBERS, those that the kind can have, and combines them."""
        members = []
        for name in MEMBERS:
            try:
                members.append(make_regressor(name, self.kind))
            except ValueError:  # needs FLOPs, which this kind has not
                continue
        return self.combine([m.fit(train, validation, seed) for m in members], validation)

    def combine(self, fitted: Sequence[Regressor], validation: Table) -> Self:
        """Chooses among fitted regressors of the kind; those of weight 0 are left out."""
        says = np.array([np.log(member.predict(validation)) for member in fitted])
        weights = _weights(says, np.log(validation.latency))
        self._members = [(weight, fitted[m]) for m, weight in weights.items()]
        return self

    @property
    def weights(self) -> dict[str, float]:
        """By name of the member; they add up to 1."""
        return {member.name: weight for weight, member in self._members}

    def predict(self, table: Table) -> np.ndarray:
        if not self._members:
            raise NotFittedError(self)
        return np.exp(sum(weight * np.log(m.predict(table)) for weight, m in self._members))

    def to_files(self) -> dict[str, bytes]:
        if not self._members:
            raise NotFittedError(self)
        files = {"blend.json": to_json(self.weights)}
        for _, member in self._members:
            files |= {f"{member.name}.{name}": data for name, data in member.to_files().items()}
        return files

    def restore(self, files: Mapping[str, bytes]) -> Self:
        weights = json.loads(files["blend.json"])
        if not isinstance(weights, dict) or not weights or self.name in weights:
            raise ValueError(f"members {weights!r}: expected names of other regressors and weights")
        for name, weight in weights.items():
            if not isinstance(weight, (int, float)) or not 0 < weight <= 1:
                raise ValueError(f"weight of {name!r} is {weight!r}: expected more than 0, up to 1")
        self._members = [
            (weight, make_regressor(name, self.kind).restore(_of_member(name, files)))
            for name, weight in weights.items()
        ]
        return self


class MeanBlend(Blend):
    """All of MEAN_MEMBERS with the same weight, for devices that no validation row is of.

    Validation on devices that were learnt prefers what tells these apart best, and that need not
    be what foretells another one.
    """

    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        names = [name for name in MEAN_MEMBERS if name in regressor_names(self.kind)]
        members = [make_regressor(n, self.kind).fit(train, validation, seed) for n in names]
        self._members = [(1 / len(members), member) for member in members]
        return self

    def combine(self, fitted: Sequence[Regressor], validation: Table) -> Self:
        """Those of MEAN_MEMBERS, or all if there is none of these."""
        members = [m for m in fitted if m.name in MEAN_MEMBERS] or list(fitted)
        self._members = [(1 / len(members), member) for member in members]
        return self


def _of_member(name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    start = f"{name}."
    return {n.removeprefix(start): data for n, data in files.items() if n.startswith(start)}


def _weights(says: np.ndarray, target: np.ndarray) -> dict[int, float]:
    """Shares of the draws by member; each draw is the one that helps the mean most.

    `says` f64[M, N] and `target` f64[N] are log seconds; the mean absolute error counts. Of all
    numbers of draws up to _DRAWS the best is taken.
    """
    total = np.zeros_like(target)
    drawn: list[int] = []
    errors = []
    for count in range(1, _DRAWS + 1):
        error = np.abs((total + says) / count - target).mean(axis=1)
        best = int(error.argmin())
        drawn.append(best)
        errors.append(error[best])
        total += says[best]
    kept = drawn[: int(np.argmin(errors)) + 1]
    return {member: count / len(kept) for member, count in sorted(Counter(kept).items())}


register_regressor("blend", Entry(Blend))
register_regressor("mean_blend", Entry(MeanBlend))
# Here because a name comes after those that it learns from.
register_regressor(
    "medn_distilled", Entry(partial(MednRegressor, recipe=RECIPES["medn_distilled"]))
)
