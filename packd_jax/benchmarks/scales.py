"""How much each measurement does, and the accesses and examples that they share."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from packd_jax.config import FeatureConfig, ModelConfig, WorkloadConfig
from packd_jax.features import Examples, encode, learn_pc_vocabulary
from packd_jax.models import MEANT_MODELS, PAPER_MODELS
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.workloads import record_workload

SEGMENTS = FeatureConfig(encoding="segments")
TOKENS = FeatureConfig(encoding="tokens")
Network = tuple[FeatureConfig, ModelConfig]  # what a network sees, and what it is
STUDENTS: dict[str, Network] = {
    "tokens token_mlp": (TOKENS, ModelConfig("token_mlp")),
    "segments mixer": (SEGMENTS, PAPER_MODELS["mixer_student"]),
}
NETWORKS: dict[str, Network] = {
    "tokens token_mlp": STUDENTS["tokens token_mlp"],
    **{f"paper {name}": (SEGMENTS, config) for name, config in PAPER_MODELS.items()},
    **{f"meant {name}": (SEGMENTS, config) for name, config in MEANT_MODELS.items()},
}


@dataclass(frozen=True)
class Scale:
    """The sizes of all measurements; rates should not depend on them, noise does."""

    workload: WorkloadConfig = WorkloadConfig()
    trace_rows: int = 1_000_000  # read, features, workload, encode_shards, loader
    memory_rows: int = 10_000_000  # encode_memory, encode_shards
    train_rows: int = 50_000  # what training and soft targets draw from
    batch_size: int = 256
    stack: int = 21  # runs of a study with 7 arms and 3 seeds
    repetition_s: float = 0.25  # what one repetition of training should take
    device_counts: tuple[int, ...] = (1, 2, 8)
    process_counts: tuple[int, ...] = (1, 2, 4)
    scaled: tuple[str, ...] = ("tokens token_mlp", "paper mixer_student")
    scaled_batch: int = 1024  # rows of a step, of all devices together or of each
    scaled_steps: int = 32
    students: Mapping[str, Network] = field(default_factory=lambda: STUDENTS)
    networks: Mapping[str, Network] = field(default_factory=lambda: NETWORKS)


FULL = Scale()
_TINY: dict[str, Network] = {
    "tokens token_mlp": STUDENTS["tokens token_mlp"],
    "segments resnet": (SEGMENTS, ModelConfig("resnet", width=2, depth=1)),
}
SMOKE = Scale(
    workload=WorkloadConfig(scale=10, instructions=200_000),
    trace_rows=5_000,
    memory_rows=20_000,
    train_rows=1_000,
    batch_size=16,
    stack=2,
    repetition_s=0.0,
    device_counts=(2,),
    process_counts=(2,),
    scaled=("tokens token_mlp",),
    scaled_batch=16,
    scaled_steps=2,
    students={"tokens token_mlp": _TINY["tokens token_mlp"]},
    networks=_TINY,
)


def accesses(scale: Scale, rows: int) -> LoadTrace:
    """So many loads of the built-in workload, again from its beginning where it ends."""
    return LoadTrace(*(np.resize(column, rows) for column in _recorded(scale.workload)))


@functools.lru_cache(maxsize=2)
def _recorded(workload: WorkloadConfig) -> LoadTrace:
    return record_workload(workload)


def examples(scale: Scale, features: FeatureConfig) -> Examples:
    """`scale.train_rows` examples."""
    trace = accesses(scale, scale.train_rows + features.look_back + features.horizon)
    vocabulary = learn_pc_vocabulary([trace.pc], features.pc_vocabulary)
    return encode(trace, slice(0, trace.rows), features, vocabulary)
