"""Regressors (RMs): from the columns of a table to seconds, each by another method."""

from latency_jax.regressors.base import NotFittedError, Regressor
from latency_jax.regressors.blend import Blend
from latency_jax.regressors.medn import MednRegressor
from latency_jax.regressors.recalibrated import Recalibrated
from latency_jax.regressors.registry import (
    Entry,
    load_regressor,
    make_regressor,
    register_regressor,
    regressor_names,
    save_regressor,
)

__all__ = [
    "Blend",
    "Entry",
    "MednRegressor",
    "NotFittedError",
    "Recalibrated",
    "Regressor",
    "load_regressor",
    "make_regressor",
    "register_regressor",
    "regressor_names",
    "save_regressor",
]
