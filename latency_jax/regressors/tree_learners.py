"""Trees grown by scikit-learn, xgboost or lightgbm, and then kept as arrays of our own.

The libraries are imported where they grow trees: it takes seconds, and predictions need none.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from threadpoolctl import threadpool_limits

from latency_jax.artifacts import from_npz, to_npz
from latency_jax.regressors.trees import LEAF, Nodes, Trees, flattened, linked

# Grown from (x f32[N, F], y f64[N], the same of validation, seed): the library's model with a
# `predict`, its trees, and what is added to their sum.
Grown = tuple[Any, list[Nodes], float]
Grow = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], Grown]


class TreeLearner:
    """Any of the `grow_*` below."""

    def __init__(self, grow: Grow) -> None:
        self.grow = grow
        self._trees: Trees | None = None

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        x_validation: np.ndarray,
        y_validation: np.ndarray,
        seed: int,
    ) -> None:
        x, x_validation = x.astype(np.float32), x_validation.astype(np.float32)
        model, trees, base = self.grow(x, y, x_validation, y_validation, seed)
        self._trees = flattened(trees, base)
        # Trees are read from attributes and texts that their libraries may change.
        error = np.abs(self._trees.predict(x[:256]) - model.predict(x[:256])).max()
        if not error <= 1e-4 * (1 + np.abs(y).max()):
            raise RuntimeError(
                f"{type(model).__module__} predicts otherwise than its trees do, by {error:.2g}: "
                "this version keeps them in another way than tree_learners.py reads"
            )

    def predict(self, x: np.ndarray) -> np.ndarray:
        assert self._trees is not None
        return self._trees.predict(x)

    def to_files(self) -> dict[str, bytes]:
        trees = self._trees
        assert trees is not None
        arrays = {"feature": trees.feature, "number": trees.number, "roots": trees.roots}
        return {"trees.npz": to_npz({**arrays, "base": np.array(trees.base)})}

    def restore(self, files: Mapping[str, bytes], features: int) -> None:
        arrays = from_npz(files["trees.npz"])
        base = arrays["base"]
        if base.shape != () or not np.isfinite(base):
            raise ValueError(f"base is {base!r}: expected a number")
        trees = linked(arrays["feature"], arrays["number"], arrays["roots"], float(base))
        if trees.feature.max() >= features:
            raise ValueError(f"feature {trees.feature.max()}: expected less than {features}")
        self._trees = trees


def grow_tree(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> Grown:
    """One tree, cut back by the complexity that validation chooses."""
    from sklearn.tree import DecisionTreeRegressor

    best: tuple[float, Any] = (np.inf, None)
    for leaf in (1, 2, 4, 8):
        model = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=seed).fit(x, y)
        error = np.abs(model.predict(x_validation) - y_validation).mean()
        best = min(best, (error, model), key=lambda pair: pair[0])
    return best[1], [_sklearn_nodes(best[1].tree_)], 0.0


def grow_forest(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> Grown:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(
        n_estimators=100, max_features=0.6, n_jobs=_threads(x), random_state=seed
    ).fit(x, y)
    trees = [_sklearn_nodes(tree.tree_) for tree in model.estimators_]
    return model, [t._replace(value=t.value / len(trees)) for t in trees], 0.0


def grow_hist_gb(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> Grown:
    """Boosting on histograms, until validation has not gained for 30 trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="squared_error",
        learning_rate=0.06,
        max_iter=1000,
        max_leaf_nodes=_leaves(x),
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=30,
        random_state=seed,
    )
    with threadpool_limits(_threads(x), user_api="openmp"):
        model.fit(x, y, X_val=x_validation, y_val=y_validation)
    trees = [_hist_nodes(stage[0].nodes) for stage in model._predictors]
    return model, trees, float(model._baseline_prediction.item())


def grow_xgboost(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> Grown:
    """Boosting by xgboost, until validation has not gained for 30 trees."""
    xgboost = _optional("xgboost")
    base = float(np.float32(y.mean()))
    model = xgboost.XGBRegressor(
        n_estimators=1000,
        learning_rate=0.06,
        max_depth=8,
        min_child_weight=5,
        subsample=0.8,
        colsample_bytree=0.8,
        base_score=base,
        early_stopping_rounds=30,
        n_jobs=_threads(x),
        random_state=seed,
    ).fit(x, y, eval_set=[(x_validation, y_validation)], verbose=False)
    used = model.best_iteration + 1
    raw = json.loads(model.get_booster()[:used].save_raw("json"))
    trees = raw["learner"]["gradient_booster"]["model"]["trees"]
    return model, [_xgboost_nodes(tree) for tree in trees], base


def grow_lightgbm(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> Grown:
    """Boosting by lightgbm, until validation has not gained for 30 trees."""
    lightgbm = _optional("lightgbm")
    parameters = {
        "objective": "regression",
        "learning_rate": 0.06,
        "num_leaves": _leaves(x),
        "min_data_in_leaf": 10,
        "feature_fraction": 0.8,
        "seed": seed,
        "deterministic": True,
        "num_threads": _threads(x),
        "verbosity": -1,
    }
    train = lightgbm.Dataset(x, y)
    model = lightgbm.train(
        parameters,
        train,
        num_boost_round=1000,
        valid_sets=[lightgbm.Dataset(x_validation, y_validation, reference=train)],
        callbacks=[lightgbm.early_stopping(30, verbose=False)],
    )
    dump = model.dump_model(num_iteration=model.best_iteration)
    return model, [_lightgbm_nodes(tree["tree_structure"]) for tree in dump["tree_info"]], 0.0


def _leaves(x: np.ndarray) -> int:
    """Leaves of a boosted tree: many rows bear more, few are learnt by heart."""
    return 31 if len(x) < 10_000 else 63


def _threads(x: np.ndarray) -> int:
    """Threads meet after every split: with few rows, or on a busy machine, they mostly wait."""
    return 1 if len(x) < 5000 else effective_n_jobs(-1)


def _sklearn_nodes(tree: Any) -> Nodes:
    feature = np.where(tree.children_left < 0, LEAF, tree.feature)
    value = tree.value[:, 0, 0]
    return Nodes(tree.children_left, tree.children_right, feature, tree.threshold, value)


def _hist_nodes(nodes: np.ndarray) -> Nodes:
    feature = np.where(nodes["is_leaf"] == 1, LEAF, nodes["feature_idx"])
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    return Nodes(left, right, feature, nodes["num_threshold"], nodes["value"])


def _xgboost_nodes(tree: Mapping[str, Any]) -> Nodes:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    condition = np.array(tree["split_conditions"], np.float32)
    feature = np.where(left < 0, LEAF, np.array(tree["split_indices"]))
    # xgboost goes left below the threshold, we up to it.
    below = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
    return Nodes(left, right, feature, below, condition.astype(np.float64))


def _lightgbm_nodes(root: Mapping[str, Any]) -> Nodes:
    rows: list[tuple[int, int, int, float, float]] = []

    def add(node: Mapping[str, Any]) -> int:
        index = len(rows)
        rows.append((0, 0, LEAF, 0.0, node.get("leaf_value", 0.0)))
        if "split_feature" in node:
            left, right = add(node["left_child"]), add(node["right_child"])
            rows[index] = (left, right, node["split_feature"], node["threshold"], 0.0)
        return index

    add(root)
    left, right, feature, threshold, value = map(np.array, zip(*rows))
    return Nodes(left, right, feature, threshold.astype(np.float64), value.astype(np.float64))


def _optional(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the regressor {name!r} needs the package {name}: pip install {name}", name=name
        ) from error
