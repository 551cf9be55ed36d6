"""Students of all arms and seeds: what an arm is, and the one program that trains them all."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax import train
from packd_jax.batching import RowOrder, drawn_of, lanes_for, subset_rows
from packd_jax.config import Config, ConfigError, EntryConfig
from packd_jax.example_source import ExampleSource
from packd_jax.models import InputSpec, build_model
from packd_jax.run_log import RunLog
from packd_jax.splits import Splits
from packd_jax.teachers import ClusterKey, Clusters, TeacherKey, Teachers, soft_targets

# Which teacher set an arm learns from; arms that are not here have none.
TEACHERS_OF = {
    "kd": "kd",
    "packd": "packd",
    "packd_random": "packd_random",
    "kd_budget": "kd_budget",
    "cluster_input_kd": "kd",
}
CLUSTER_INPUT = ("cluster_input", "cluster_input_kd")


class Candidate(NamedTuple):
    """One setting of one arm; validation chooses where an arm has several."""

    arm: str
    alpha: tuple[float, ...] = (1.0,)  # weight of the hard loss, for all clusters or one each
    temperature: float = 1.0
    clusters: ClusterKey | None = None
    learning_rate: float = 0.0  # 0: the entry's; sweeps try several in one program

    def teacher_key(self, seed: int) -> TeacherKey | None:
        """The teacher set that a student of this candidate learns from."""
        kind = TEACHERS_OF.get(self.arm)
        if kind is None:
            return None
        return TeacherKey(kind, None if kind == "kd" else self.clusters, seed)

    @property
    def cluster_input(self) -> ClusterKey | None:
        """The clustering whose id is an input of the student."""
        return self.clusters if self.arm in CLUSTER_INPUT else None


def candidates(arm: str, config: Config) -> list[Candidate]:
    """All settings of an arm that the configuration allows; none for the marginal."""
    distill = config.distill
    if arm == "marginal":
        return []
    keys = [ClusterKey(f, k) for f in distill.cluster_features for k in distill.cluster_ks]
    clusters: list[ClusterKey | None] = [None] if arm in ("no_kd", "kd") else [*keys]
    if arm not in TEACHERS_OF:
        return [Candidate(arm, clusters=c) for c in clusters]
    # One alpha per cluster means something only where there is a teacher per cluster.
    by_cluster = arm in ("packd", "packd_random")
    found = [
        Candidate(arm, a, t, c)
        for a, t, c in itertools.product(distill.alphas, distill.temperatures, clusters)
        if len(a) == 1 or (by_cluster and c is not None and len(a) == c.k)
    ]
    if not found:
        teachers = "one teacher for each cluster" if by_cluster else "one teacher"
        raise ConfigError(
            f"config.distill.alphas = {distill.alphas}: arm {arm} has {teachers}; expected at"
            f" least one candidate with a single alpha, or for packd with K = {distill.cluster_ks}"
        )
    return found


class Student(NamedTuple):
    """One row of a study before it is scored: which run of which fitted stack."""

    candidate: Candidate
    seed: int
    model: Any
    stack: train.Fit
    run: int  # index on the stack's leading axis
    cluster_input: ClusterKey | None  # clustering whose id is an input of the model


class Material(NamedTuple):
    """What the students of one entry are made from."""

    entry: EntryConfig
    config: Config
    splits: Splits
    clusters: Mapping[ClusterKey, Clusters]
    teachers: Mapping[TeacherKey, Teachers]

    def examples(self, split: str, cluster_input: ClusterKey | None) -> ExampleSource:
        """A split's examples, with the cluster id among the inputs if asked for."""
        examples: ExampleSource = getattr(self.splits, split).examples
        if cluster_input is None:
            return examples
        return examples.with_input("cluster", self.clusters[cluster_input].ids[split])


def train_students(
    chosen: Sequence[Candidate],
    seeds: Sequence[int],
    material: Material,
    workdir: Path,
    stage: str,
    log: RunLog,
) -> list[Student]:
    """Trains every (candidate, seed), in this order: same rows, steps and schedule for all.

    Runs of equal shape are one program over a stacked axis. Only another temperature, or the
    cluster id as an input, which is another network, makes a program of its own.
    """
    pairs = list(itertools.product(chosen, seeds))
    first = material.config.distill.temperatures[0]
    groups: dict[tuple[float, ClusterKey | None], list[int]] = {}
    for place, (candidate, _) in enumerate(pairs):
        temperature = candidate.temperature if candidate.arm in TEACHERS_OF else first
        groups.setdefault((temperature, candidate.cluster_input), []).append(place)
    students: dict[int, Student] = {}
    for (temperature, cluster_input), places in groups.items():
        name = f"{stage}-t{temperature:g}" + (f"-input-{cluster_input}" if cluster_input else "")
        runs = [pairs[place] for place in places]
        trained = _train_group(runs, temperature, cluster_input, material, workdir, name, log)
        students |= dict(zip(places, trained))
    return [students[place] for place in range(len(pairs))]


def _train_group(
    pairs: list[tuple[Candidate, int]],
    temperature: float,
    cluster_input: ClusterKey | None,
    material: Material,
    workdir: Path,
    name: str,
    log: RunLog,
) -> list[Student]:
    entry, config = material.entry, material.config
    settings, quirks = entry.student_train, config.quirks
    k = material.clusters[cluster_input].fitted.k if cluster_input else 0
    model = build_model(
        entry.student,
        InputSpec.of(entry.features, k, settings.compute_dtype),
        quirks.lstm_along_batch,
    )
    examples = material.examples("train", cluster_input)
    rows: np.ndarray | range = range(examples.rows)
    if 0 < settings.rows < examples.rows:
        rows = subset_rows(examples.rows, settings.rows, seed=0)
        examples = examples.take(rows)

    keys = [teacher_key(c, seed, config) for c, seed in pairs]
    sets = list(dict.fromkeys(key for key in keys if key is not None))
    targets = None
    if sets:
        targets = _targets(sets, rows, temperature, material, workdir, log)
    orders, order_of = _orders(pairs, rows, material)
    teachers = max((len(c.alpha) for c, _ in pairs), default=1)
    most = max([teachers, *(int(t.ids["train"].max()) + 1 for t in material.teachers.values())])
    rates = [
        (c.learning_rate or settings.learning_rate)
        * (quirks.packd_learning_rate_factor if c.arm.startswith("packd") else 1.0)
        for c, _ in pairs
    ]
    runs = train.Runs(
        seed=np.array([seed for _, seed in pairs], np.int32),
        order=np.array(order_of, np.int32),
        learning_rate=np.array(rates, np.float32),
        soft=np.array([sets.index(key) if key else 0 for key in keys], np.int32) if sets else None,
        alpha=np.array([alphas(c, most) for c, _ in pairs], np.float32) if sets else None,
    )
    split = "test" if quirks.select_on_test else "validation"
    with log.stage(f"students {name}", total=settings.steps) as progress:
        fit = train.fit(
            model,
            examples,
            runs,
            orders,
            material.examples(split, cluster_input),
            settings,
            targets=targets,
            temperature=temperature,
            soft_weight=soft_weight(config, temperature),
            execution=train.choose_execution(settings, entry.student),
            directory=workdir / "students" / name,
            progress=progress,
        )
    return [Student(c, seed, model, fit, i, cluster_input) for i, (c, seed) in enumerate(pairs)]


def teacher_key(candidate: Candidate, seed: int, config: Config) -> TeacherKey | None:
    """The teacher set of the student with that seed; None if its arm has none."""
    return candidate.teacher_key(config.seeds.index(seed) % config.teacher_seeds)


def soft_weight(config: Config, temperature: float) -> float:
    """What the soft loss is multiplied by, apart from 1 - alpha."""
    square = temperature**2 if config.distill.square_temperature else 1.0
    return square * (0.5 if config.quirks.half_kl else 1.0)


def alphas(candidate: Candidate, most: int) -> list[float]:
    """The candidate's alpha for each of `most` clusters; the last one for those it lacks."""
    alpha = candidate.alpha
    return [*alpha, *[alpha[-1]] * (most - len(alpha))]


def _targets(
    sets: list[TeacherKey],
    rows: np.ndarray | range,
    temperature: float,
    material: Material,
    workdir: Path,
    log: RunLog,
) -> train.Targets:
    config, examples = material.config, material.splits.train.examples
    files = [
        soft_targets(material.teachers[key], examples, rows, temperature, config, workdir, log)
        for key in sets
    ]
    cluster = np.stack([drawn_of(material.teachers[key].ids["train"], rows) for key in sets])
    on_disk = sum(file.nbytes for file in files) > config.distill.soft_budget_bytes
    return train.Targets(files if on_disk else np.stack(files), cluster, on_disk)


def _orders(
    pairs: list[tuple[Candidate, int]], rows: np.ndarray | range, material: Material
) -> tuple[list[RowOrder], list[int]]:
    """One row order per seed, shared by all arms; the authors' clusters in turn on request."""
    settings = material.entry.student_train
    lanes = lanes_for(len(rows), settings)
    orders: dict[tuple[int, TeacherKey | None], RowOrder] = {}
    places = []
    for candidate, seed in pairs:
        key = None
        if material.config.quirks.clusters_in_turn and candidate.arm.startswith("packd"):
            key = teacher_key(candidate, seed, material.config)
        if (seed, key) not in orders:
            groups = drawn_of(material.teachers[key].ids["train"], rows) if key else None
            orders[seed, key] = RowOrder(
                range(len(rows)), seed, groups, lanes=lanes, shuffle_rows=settings.shuffle_rows
            )
        places.append(list(orders).index((seed, key)))
    return list(orders.values()), places
