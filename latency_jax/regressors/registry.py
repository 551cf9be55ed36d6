"""Regressors by name."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from latency_jax.artifacts import ArtifactError, read_artifact, to_json, write_artifact
from latency_jax.features import GENERIC, TILES
from latency_jax.regressors import tree_learners
from latency_jax.regressors.additive import Additive
from latency_jax.regressors.base import Regressor
from latency_jax.regressors.encoded import EncodedRegressor, Learner, Recipe
from latency_jax.regressors.kernels import NearestNeighbours, SupportVectors
from latency_jax.regressors.linear import Ridge
from latency_jax.regressors.lookup import LookupTable
from latency_jax.regressors.roofline import Roofline

FORMAT = "latency_jax regressor"
VERSION = 1


class Entry(NamedTuple):
    """How a regressor of a name is made, and what must be there for it."""

    make: Callable[[str, str], Regressor]  # name, kind
    needs_cost: bool = False  # FLOPs and bytes, which the generic kind has not
    needs_package: str | None = None
    needs_source: bool = False  # another regressor that it corrects: tables do not make it


_ENTRIES: dict[str, Entry] = {}


def register_regressor(name: str, entry: Entry) -> None:
    """Adds a regressor under a name that is not taken yet."""
    if name in _ENTRIES:
        raise ValueError(f"a regressor {name!r} is registered already: choose another name")
    _ENTRIES[name] = entry


def regressor_names(kind: str) -> tuple[str, ...]:
    """Names that `make_regressor` can make for a kind with the packages that are installed, and
    that can be fitted to tables."""
    return tuple(
        name
        for name, entry in _ENTRIES.items()
        if not (entry.needs_cost and kind == GENERIC)
        and not entry.needs_source
        and (entry.needs_package is None or importlib.util.find_spec(entry.needs_package))
    )


def make_regressor(name: str, kind: str) -> Regressor:
    """An unfitted regressor for one module kind.

    Raises ValueError for an unknown name, and for one that the kind or a missing package rules
    out; it says which and what to do.
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name, _ENTRIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"regressor {name!r}: expected one of {', '.join(_ENTRIES)}{hint}")
    entry = _ENTRIES[name]
    if entry.needs_cost and kind == GENERIC:
        raise ValueError(
            f"regressor {name!r} needs FLOPs and bytes, and the kind {GENERIC!r} has none: choose "
            f"one of {', '.join(regressor_names(kind))}, or name the module kind"
        )
    return entry.make(name, kind)


def save_regressor(regressor: Regressor, path: str | os.PathLike) -> None:
    """Writes a fitted regressor: one file where the path ends in ".zip", else a directory."""
    record = {"name": regressor.name, "kind": regressor.kind}
    files = {"regressor.json": to_json(record), **regressor.to_files()}
    write_artifact(path, FORMAT, VERSION, files)


def load_regressor(path: str | os.PathLike) -> Regressor:
    """A regressor that predicts as the saved one did. Raises ArtifactError, see artifacts.py."""
    files = read_artifact(path, FORMAT, VERSION)
    try:
        record = json.loads(files["regressor.json"])
        return make_regressor(record["name"], record["kind"]).restore(files)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(path, f"holds no regressor: {error}") from error


def _learner(
    make_learner: Callable[[], Learner],
    wide: str = "raw",
    standardized: bool = False,
    tiles: tuple[int, ...] = (),
    base: str = "",
    needs_package: str | None = None,
) -> Entry:
    recipe = Recipe(make_learner, wide, standardized, tiles, base)
    make = partial(EncodedRegressor, recipe=recipe)
    return Entry(make, needs_cost=bool(base), needs_package=needs_package)


def _trees(
    grow: tree_learners.Grow,
    tiles: tuple[int, ...] = TILES,
    base: str = "",
    needs_package: str | None = None,
) -> Entry:
    # Trees do not care for the scale of a feature, so a logarithm beside it would only cost time.
    # Where many trees are added, tile remainders say what they would need many splits for.
    make_learner = partial(tree_learners.TreeLearner, grow)
    return _learner(make_learner, "raw", False, tiles, base, needs_package)


# Distances and sums do care: logarithms, lest the widest column drowns the rest.
register_regressor("linear", _learner(partial(Ridge, 1), "both", standardized=True))
register_regressor("poly2_ridge", _learner(partial(Ridge, 2), "both", standardized=True))
register_regressor("knn", _learner(NearestNeighbours, "log", standardized=True))
register_regressor("svr", _learner(SupportVectors, "log", standardized=True))
register_regressor("decision_tree", _trees(tree_learners.grow_tree, tiles=()))
register_regressor("random_forest", _trees(tree_learners.grow_forest))
register_regressor("hist_gb", _trees(tree_learners.grow_hist_gb))
register_regressor("roofline", Entry(Roofline, needs_cost=True))
register_regressor(
    "residual_ridge", _learner(partial(Ridge, 1), "both", standardized=True, base="roofline")
)
register_regressor("residual_hist_gb", _trees(tree_learners.grow_hist_gb, base="roofline"))
register_regressor("additive", Entry(Additive, needs_cost=True))
register_regressor("additive_hist_gb", _trees(tree_learners.grow_hist_gb, base="additive"))
register_regressor(
    "additive_svr", _learner(SupportVectors, "log", standardized=True, base="additive")
)
register_regressor("lookup", _learner(LookupTable, "log"))
register_regressor("xgboost", _trees(tree_learners.grow_xgboost, needs_package="xgboost"))
register_regressor("lightgbm", _trees(tree_learners.grow_lightgbm, needs_package="lightgbm"))
