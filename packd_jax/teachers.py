"""Teacher sets: trained once, judged on validation, and turned into soft targets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax import clustering, evaluation, metrics, train
from packd_jax.batching import RowOrder, drawn_of, lanes_for, subset_rows
from packd_jax.config import Config, EntryConfig
from packd_jax.distill import write_soft_targets
from packd_jax.example_source import PIECE_ROWS, ExampleSource, piece_rows
from packd_jax.models import InputSpec, build_model
from packd_jax.run_log import RunLog
from packd_jax.splits import SPLITS, Split, Splits


class ClusterKey(NamedTuple):
    """Which clustering: its feature and the K asked for."""

    feature: str
    k: int

    def __str__(self) -> str:
        return f"{self.feature}{self.k}"


class TeacherKey(NamedTuple):
    """Which teacher set."""

    kind: str  # kd | kd_budget | packd | packd_random
    clusters: ClusterKey | None  # None for kd
    seed: int

    def __str__(self) -> str:
        return "-".join(str(part) for part in self if part is not None)


class Clusters(NamedTuple):
    """A fitted clustering and the cluster of every row, by split."""

    fitted: clustering.Clustering
    ids: dict[str, np.ndarray]  # u8[N] for "train", "validation", "test"


class Teachers(NamedTuple):
    """K trained teachers; row i of a split is answered by teacher `ids[split][i]`."""

    key: TeacherKey
    model: Any
    fit: train.Fit
    ids: dict[str, np.ndarray]
    f1: float  # of the routed set on all of validation, at its own best threshold
    steps: int  # of each teacher


def fit_clusters(splits: Splits, key: ClusterKey, config: Config, look_back: int) -> Clusters:
    """Fits on training windows, or on a sample of so many; assigns all splits.

    The sample has `config.clusters.sample_rows` windows and is the same wherever examples are.
    """
    settings = dataclasses.replace(config.clusters, feature=key.feature, k=key.k)
    fit_feature = key.feature
    if key.feature == "d" and config.quirks.delta_clusters_from_pcs:
        fit_feature = "i"
    total = splits.train.examples.rows
    rows = clustering.sample_rows(total, settings.sample_rows, settings.seed)
    windows = splits.train.windows(fit_feature, look_back, rows)
    fitted = clustering.fit_clusters(windows, settings, not config.quirks.clusters_unscaled)
    return Clusters(fitted, assign_splits(fitted, splits, look_back))


def assign_splits(
    fitted: clustering.Clustering, splits: Splits, look_back: int
) -> dict[str, np.ndarray]:
    """The cluster of every row, u8[N] by split; windows are made piece by piece."""
    ids = {}
    for name in SPLITS:
        split: Split = getattr(splits, name)
        ids[name] = np.empty(split.examples.rows, np.uint8)
        for rows in piece_rows(split.examples.rows, PIECE_ROWS):
            windows = split.windows(fitted.feature, look_back, rows)
            ids[name][rows] = clustering.assign(fitted, windows)
    return ids


def row_clusters(key: TeacherKey, splits: Splits, clusters: Clusters | None) -> dict[str, Any]:
    """Whose teacher answers which row, `{split: u8[N]}`, for a kind of teacher set."""
    rows = {name: getattr(splits, name).examples.rows for name in SPLITS}
    if key.kind in ("kd", "kd_budget") or clusters is None:
        return {name: np.zeros(count, np.uint8) for name, count in rows.items()}
    if key.kind == "packd":
        return clusters.ids
    return {
        name: clustering.random_clusters(clusters.fitted.counts, count, key.seed)
        for name, count in rows.items()
    }


def train_teachers(
    key: TeacherKey,
    splits: Splits,
    clusters: Clusters | None,
    entry: EntryConfig,
    config: Config,
    workdir: Path,
    log: RunLog,
) -> Teachers:
    """One teacher per cluster, all in one program, each on rows of its own cluster.

    "kd" is one teacher for all rows; "kd_budget" is one with the steps of all K together;
    "packd_random" has clusters of the same sizes without a meaning.
    """
    ids = row_clusters(key, splits, clusters)
    settings, rate = entry.teacher_train, entry.teacher_train.learning_rate
    if key.kind == "kd_budget" and clusters is not None:
        settings = dataclasses.replace(settings, steps=settings.steps * clusters.fitted.k)
    if key.kind.startswith("packd"):
        rate *= config.quirks.packd_learning_rate_factor
    examples, validation = splits.train.examples, judged_on(splits, config).examples
    validation_ids = ids["test" if config.quirks.select_on_test else "validation"]
    k = clusters.fitted.k if clusters is not None and key.kind.startswith("packd") else 1
    lanes = lanes_for(examples.rows, settings)
    orders = [
        RowOrder(part, 1000 * (key.seed + 1) + c, lanes=lanes, shuffle_rows=settings.shuffle_rows)
        for c, part in enumerate(own_rows(ids["train"], k, settings.rows))
    ]
    runs = train.Runs(
        seed=np.arange(k, dtype=np.int32) + 1000 * (key.seed + 1),
        order=np.arange(k, dtype=np.int32),
        learning_rate=np.full(k, rate, np.float32),
    )
    spec = InputSpec.of(entry.features, dtype=settings.compute_dtype)
    model = build_model(entry.teacher, spec, config.quirks.lstm_along_batch)
    validation_rows = [np.flatnonzero(validation_ids == c) for c in range(k)]
    # A teacher without a validation row of its own is looked at on all of them.
    looked_at = [r if len(r) else np.arange(len(validation_ids)) for r in validation_rows]
    with log.stage(f"teachers {key}", total=settings.steps) as progress:
        fit = train.fit(
            model,
            examples,
            runs,
            orders,
            validation,
            settings,
            validation_rows=None if k == 1 else looked_at,
            execution=train.choose_execution(settings, entry.teacher),
            directory=workdir / "teachers" / str(key),
            progress=progress,
        )
    histogram = sum_histograms(
        evaluation.evaluate(model, fit.variables, validation, validation_rows)
    )
    f1 = float(metrics.f1_curve(histogram).max())
    return Teachers(key, model, fit, ids, f1, settings.steps)


def own_rows(cluster: np.ndarray, k: int, count: int) -> list[np.ndarray | range]:
    """The rows that the teacher of each of `k` clusters learns from; `cluster` u8[N].

    They are those of its cluster among `count` drawn rows (0: all). A cluster that the drawn
    rows miss has all of its rows, and one without any, as the quirk delta_clusters_from_pcs
    leaves them, the drawn rows of all clusters.
    """
    total = len(cluster)
    if k == 1 and not 0 < count < total:
        return [range(total)]
    rows = subset_rows(total, count, seed=0)
    own: list[np.ndarray | range] = []
    for c in range(k):
        drawn = rows[cluster[rows] == c]
        mine = drawn if len(drawn) else np.flatnonzero(cluster == c)
        own.append(mine if len(mine) else rows)
    return own


def sum_histograms(histogram: metrics.ScoreHistogram) -> metrics.ScoreHistogram:
    """One histogram of the bits of all runs together."""
    return metrics.ScoreHistogram(histogram.negative.sum(axis=0), histogram.positive.sum(axis=0))


def judged_on(splits: Splits, config: Config) -> Split:
    """The split that chooses: validation, unless the authors' quirk is asked for."""
    return splits.test if config.quirks.select_on_test else splits.validation


def soft_targets(
    teachers: Teachers,
    examples: ExampleSource,
    rows: np.ndarray | range,
    temperature: float,
    config: Config,
    workdir: Path,
    log: RunLog,
) -> np.ndarray:
    """What the set says about the given training rows: float16 or uint8 [len(rows), D], on disk."""
    cluster = drawn_of(teachers.ids["train"], rows)
    with log.stage(f"soft targets {teachers.key}", total=len(cluster)) as progress:
        return write_soft_targets(
            workdir / "soft_targets" / f"{teachers.key}-t{temperature:g}.npy",
            teachers.model,
            teachers.fit.variables,
            examples,
            cluster,
            rows=rows if isinstance(rows, np.ndarray) else None,
            temperature=temperature,
            dtype=config.distill.soft_dtype,
            train_mode=config.quirks.teachers_in_train_mode,
            progress=progress,
        )
