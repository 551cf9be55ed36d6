"""Models from scratch of tens of rows: what a recalibrated one must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency_jax.columns import GENERIC
from latency_jax.regressors import Recalibrated, Regressor, make_regressor, regressor_names
from latency_jax.regressors.views import Views
from latency_jax.table import Table

ROOFLINE_PROCESS = "roofline_process"  # a Gaussian process on a roofline, both of these rows
NAMES = (
    *("roofline", "additive", "linear", "residual_ridge", "knn", "svr", "additive_svr"),
    *("hist_gb", ROOFLINE_PROCESS),
)
_FOLDS = 5


def names_for(kind: str) -> tuple[str, ...]:
    """Those of NAMES that the kind can have."""
    known = regressor_names(kind)
    return tuple(n for n in NAMES if n in known or (n == ROOFLINE_PROCESS and kind != GENERIC))


def fit_few(name: str, rows: Table, seed: int) -> Regressor:
    """Fitted to few rows; a fifth of them, two at least, are what a penalty is chosen by."""
    if name == ROOFLINE_PROCESS:
        roofline = make_regressor("roofline", rows.kind).fit(rows, rows, seed)
        return Recalibrated.of(Views(roofline, (), None, None), "process").fit(rows, rows, seed)
    order = np.random.default_rng(seed).permutation(rows.rows)
    held = max(2, rows.rows // 5)
    return make_regressor(name, rows.kind).fit(rows.take(order[held:]), rows.take(order[:held]), 0)


def chosen(names: Sequence[str], rows: Table, seed: int) -> str:
    """The name of least mean absolute error of log seconds by cross-validation over the rows."""
    fold = np.random.default_rng(seed).permutation(rows.rows) % min(_FOLDS, rows.rows)
    errors = dict.fromkeys(names, 0.0)
    for name in names:
        for number in range(fold.max() + 1):
            fitted = fit_few(name, rows.take(fold != number), seed)
            test = rows.take(fold == number)
            errors[name] += float(np.abs(np.log(fitted.predict(test) / test.latency)).sum())
    return min(errors, key=lambda name: errors[name])
