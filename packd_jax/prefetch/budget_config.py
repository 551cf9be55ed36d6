"""What a search for the best prefetcher may try, and how it trains what it tries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packd_jax.config import ARMS, EntryConfig, FeatureConfig, ModelConfig, TrainConfig
from packd_jax.config.checks import require
from packd_jax.prefetch.policy import PolicyConfig

_AXES = {  # field of a design: of the grid
    "look_back": "look_backs",
    "delta_bound": "delta_bounds",
    "local_deltas": "local_deltas",
    "vocabulary": "vocabularies",
    "embedding": "embeddings",
    "width": "widths",
    "depth": "depths",
    "weight_bits": "weight_bits",
    "filter_blocks": "filter_blocks",
    "arm": "arms",
}


@dataclass(frozen=True)
class Design:
    """One prefetcher: its inputs, its network, its bits and how it is trained."""

    look_back: int  # loads in a window
    delta_bound: int  # blocks; the network has twice as many logits
    local_deltas: int  # last deltas of the load's PC
    vocabulary: tuple[int, int, int]  # deltas with tokens of their own, octaves beyond, PCs
    embedding: tuple[int, int, int]  # widths for deltas, PCs and offsets
    width: int
    depth: int
    weight_bits: int
    filter_blocks: int  # of the filter of recent requests
    arm: str

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What the examples depend on."""
        return self.look_back, self.delta_bound, self.local_deltas, self.vocabulary


@dataclass(frozen=True)
class BudgetConfig:
    """The grid of designs, how many of them are tried, and how each is trained.

    Of the designs that fit a budget and not the next smaller one, `draws` are drawn at random
    (Bergstra and Bengio, JMLR 2012) with the first of `arms`. The other arms are tried on the
    best one of each budget alone: a teacher takes longer than a student.
    """

    look_backs: tuple[int, ...] = (5, 10)
    delta_bounds: tuple[int, ...] = (16, 32, 64)
    local_deltas: tuple[int, ...] = (0,)  # of the PC; on graph programs 2 gain nothing
    vocabularies: tuple[tuple[int, int, int], ...] = (
        (8, 4, 8),
        (16, 8, 24),
        (32, 12, 48),
        (64, 12, 192),
    )
    embeddings: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (2, 1, 2), (4, 2, 4), (8, 4, 8))
    widths: tuple[int, ...] = (4, 8, 16, 64, 256, 512)
    depths: tuple[int, ...] = (1,)
    weight_bits: tuple[int, ...] = (8, 4)
    filter_blocks: tuple[int, ...] = (64, 256)
    arms: tuple[str, ...] = ("no_kd", "kd")
    draws: int = 6  # designs trained for each budget
    seed: int = 0  # of the draw and of the training
    horizon: int = 64  # loads after the current one that labels look at
    miss_labels: bool = True  # only those that miss the LLC
    student_train: TrainConfig = TrainConfig(steps=3000, batch_size=512, learning_rate=4e-3)
    teacher: ModelConfig = ModelConfig(width=64, delta_width=8, pc_width=4, offset_width=8)
    teacher_train: TrainConfig = TrainConfig(steps=3000, batch_size=512, learning_rate=2e-3)

    def __post_init__(self) -> None:
        for name in _AXES.values():
            values = getattr(self, name)
            require(len(values) > 0, f"budget.{name}", values, "at least one value")
            require(len(set(values)) == len(values), f"budget.{name}", values, "distinct values")
        # The id of a cluster is an input that no hardware knows; the marginal has no network.
        known = [a for a in ARMS if a != "marginal" and not a.startswith("cluster_input")]
        require(set(self.arms) <= set(known), "budget.arms", self.arms, f"names out of {known}")
        bits = self.weight_bits
        require(set(bits) <= {8, 4}, "budget.weight_bits", bits, "8 and 4")
        require(self.draws >= 1, "budget.draws", self.draws, "at least 1")
        require(self.seed >= 0, "budget.seed", self.seed, "0 or more")
        for design in self.designs():
            self.entry(design)
            PolicyConfig(filter_blocks=design.filter_blocks)

    def designs(self) -> Iterator[Design]:
        """All of the grid with the first arm."""
        axes = [getattr(self, name) for name in _AXES.values()]
        for values in itertools.product(*axes[:-1], axes[-1][:1]):
            yield Design(**dict(zip(_AXES, values)))

    def entry(self, design: Design) -> EntryConfig:
        """How a design is trained. Raises ConfigError for values that no network can have."""
        exact, octaves, pcs = design.vocabulary
        delta_width, pc_width, offset_width = design.embedding
        features = FeatureConfig(
            look_back=design.look_back,
            horizon=self.horizon,
            delta_bound=design.delta_bound,
            miss_labels=self.miss_labels,
            delta_exact=exact,
            delta_log_buckets=octaves,
            pc_vocabulary=pcs,
            local_deltas=design.local_deltas,
        )
        student = ModelConfig(
            width=design.width,
            depth=design.depth,
            delta_width=delta_width,
            pc_width=pc_width,
            offset_width=offset_width,
        )
        return EntryConfig(features, student, self.teacher, self.student_train, self.teacher_train)


SMOKE = BudgetConfig(
    look_backs=(3,),
    delta_bounds=(8,),
    vocabularies=((8, 3, 4),),
    embeddings=((1, 1, 1), (2, 1, 2)),
    widths=(2, 16),
    filter_blocks=(64,),
    draws=1,
    horizon=8,
    student_train=TrainConfig(steps=6, batch_size=16, evaluations=2),
    teacher=ModelConfig(width=4),
    teacher_train=TrainConfig(steps=6, batch_size=16, evaluations=2),
)
