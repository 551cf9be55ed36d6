"""Validation scores of few rows, drawn to what the other kinds of module say of a regressor.

The best of many regressors on a few validation rows is in part the luckiest. What a score says
beyond "this kind is hard" and "this regressor is good" is believed as far as it shows in both
halves of the validation rows: their correlation says which share of it is real (Spearman-Brown).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency_jax.scores import Scores, score
from latency_jax.selection import Candidate

Halves = tuple[Scores, Scores]
_NOTHING = 1e-12  # of scores: what rounding leaves


def halves(measured: np.ndarray, predicted: np.ndarray) -> Halves:
    """Scores of the even rows and of the odd ones, of f64[N] seconds; of a single row, twice."""
    odd = slice(min(1, len(measured) - 1), None, 2)
    return score(measured[::2], predicted[::2]), score(measured[odd], predicted[odd])


def steadied(candidates: Sequence[Candidate], of_halves: Sequence[Halves]) -> list[Candidate]:
    """The same candidates with steadier scores; as they are where only one kind was fitted."""
    kinds, names = (list(dict.fromkeys(column)) for column in zip(*(c[:2] for c in candidates)))
    at = np.array([(kinds.index(c.kind), names.index(c.name)) for c in candidates])
    scores = np.array([(c.scores, *both) for c, both in zip(candidates, of_halves, strict=True)])
    steady = np.column_stack([_steadied(at, scores[:, :, s]) for s in range(scores.shape[2])])
    return [c._replace(scores=Scores(*row)) for c, row in zip(candidates, steady.tolist())]


def _steadied(at: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One score f64[C] of candidates from f64[C, 3]: of all rows, the even and the odd ones.

    `at` i64[C, 2] are the kind and the regressor of each.
    """
    steady = scores[:, 0].copy()
    known = np.isfinite(scores).all(axis=1)
    if not known.any():
        return steady
    at, scores = at[known], scores[known]
    effects = np.hstack([np.eye(count)[which] for which, count in zip(at.T, at.max(axis=0) + 1)])
    additive = effects @ np.linalg.lstsq(effects, scores, rcond=None)[0]
    beyond = scores - additive
    sizes = np.linalg.norm(beyond, axis=0)
    if sizes.min() <= _NOTHING:
        return steady
    agreement = max(float(beyond[:, 1] @ beyond[:, 2] / (sizes[1] * sizes[2])), 0.0)
    real = 2 * agreement / (1 + agreement)
    steady[known] = additive[:, 0] + real * beyond[:, 0]
    return steady
