"""A whole study: entries, arms, candidates, and the authors' quirks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packd_jax.config.checks import require
from packd_jax.config.features import FeatureConfig
from packd_jax.config.model import ModelConfig, TrainConfig
from packd_jax.config.stream import StreamConfig
from packd_jax.config.trace import CLUSTER_FEATURES, ClusterConfig, TraceConfig


@dataclass(frozen=True)
class EntryConfig:
    """One line of the study: an encoding, the student to be had, the teacher to learn from."""

    features: FeatureConfig = FeatureConfig()
    student: ModelConfig = ModelConfig()
    teacher: ModelConfig = ModelConfig(width=128, delta_width=8, pc_width=8, offset_width=8)
    student_train: TrainConfig = TrainConfig()
    teacher_train: TrainConfig = TrainConfig(learning_rate=1e-3)


ARMS = (
    "marginal",
    "no_kd",
    "kd",
    "packd",
    "packd_random",
    "kd_budget",
    "cluster_input",
    "cluster_input_kd",
)


@dataclass(frozen=True)
class DistillConfig:
    """What distillation may choose from; with several candidates validation chooses, per arm.

    `alphas` holds candidates, each `(alpha,)` for all teachers or one alpha per cluster.
    Alpha weights the **hard** loss: 1 is no distillation, 0 is soft targets only.
    """

    alphas: tuple[tuple[float, ...], ...] = ((0.1,),)
    temperatures: tuple[float, ...] = (1.0,)
    square_temperature: bool = False  # multiply the soft loss by T**2 (Hinton et al. 2015)
    cluster_features: tuple[str, ...] = ("a",)
    cluster_ks: tuple[int, ...] = (3,)
    soft_dtype: str = "float16"  # float16 | uint8, how soft targets are stored
    soft_budget_bytes: int = 4 * 2**30  # soft targets beyond this stay on disk

    def __post_init__(self) -> None:
        for name in ("alphas", "temperatures", "cluster_features", "cluster_ks"):
            require(
                len(getattr(self, name)) > 0,
                f"distill.{name}",
                getattr(self, name),
                "at least one candidate",
            )
        for alpha in self.alphas:
            require(
                len(alpha) > 0 and all(0 <= a <= 1 for a in alpha),
                "distill.alphas",
                self.alphas,
                "values in [0, 1]",
            )
        require(
            all(t > 0 for t in self.temperatures),
            "distill.temperatures",
            self.temperatures,
            "values above 0",
        )
        require(
            self.soft_dtype in ("float16", "uint8"),
            "distill.soft_dtype",
            self.soft_dtype,
            "float16 or uint8",
        )
        require(
            set(self.cluster_features) <= set(CLUSTER_FEATURES),
            "distill.cluster_features",
            self.cluster_features,
            f"names out of {CLUSTER_FEATURES}",
        )
        require(
            all(1 <= k <= 16 for k in self.cluster_ks),
            "distill.cluster_ks",
            self.cluster_ks,
            "values from 1 to 16",
        )


@dataclass(frozen=True)
class QuirksConfig:
    """Departures of the authors' code from their paper, each behind a switch, all off.

    Dropped empty rows are `features.keep_empty_labels`; learning rates are in `train`.
    """

    select_on_test: bool = False  # epoch, threshold, K, feature and alpha chosen on the test split
    packd_learning_rate_factor: float = 1.0  # the winning PaCKD runs had twice the baselines' rate
    clusters_in_turn: bool = False  # an epoch visits one cluster after another
    teachers_in_train_mode: bool = False  # BatchNorm of the teachers uses batch statistics
    clusters_unscaled: bool = False  # k-means on raw numbers
    delta_clusters_from_pcs: bool = False  # option d: fitted on PCs, applied to deltas
    half_kl: bool = False  # the soft loss is half of the mean per-bit KL
    lstm_along_batch: bool = False  # the recurrence runs over the rows of a batch


@dataclass(frozen=True)
class Config:
    """A whole study."""

    name: str = "default"
    trace: TraceConfig = TraceConfig()
    entries: Mapping[str, EntryConfig] = field(default_factory=lambda: {"tokens": EntryConfig()})
    clusters: ClusterConfig = ClusterConfig()  # feature and k are overruled by distill's candidates
    distill: DistillConfig = DistillConfig()
    arms: tuple[str, ...] = ARMS
    seeds: tuple[int, ...] = (0, 1, 2)
    teacher_seeds: int = 1  # teachers of so many seeds; student seed i learns from i modulo this
    tune_seeds: int = 1  # candidates are compared over the first so many seeds
    quirks: QuirksConfig = QuirksConfig()
    stream: StreamConfig = StreamConfig()

    def __post_init__(self) -> None:
        require(len(self.entries) > 0, "entries", dict(self.entries), "at least one entry")
        for arm in self.arms:
            require(arm in ARMS, "arms", arm, f"names out of {ARMS}")
        require(len(set(self.arms)) == len(self.arms) > 0, "arms", self.arms, "distinct arms")
        require(len(set(self.seeds)) == len(self.seeds) > 0, "seeds", self.seeds, "distinct seeds")
        require(min(self.seeds) >= 0, "seeds", self.seeds, "seeds of 0 or more")
        require(self.teacher_seeds >= 1, "teacher_seeds", self.teacher_seeds, "at least 1")
        require(
            1 <= self.tune_seeds <= len(self.seeds),
            "tune_seeds",
            self.tune_seeds,
            f"1 to {len(self.seeds)}",
        )
