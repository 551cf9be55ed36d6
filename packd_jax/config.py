"""What a study does: frozen dataclasses, one per stage, checked when they are built.

Configurations enter at the edge as `ml_collections.ConfigDict` or JSON; `from_config_dict`
turns either into these classes, names the nearest key for a typo, and refuses wrong types.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A configuration value that cannot be used; the message says which, and what would be."""


def _require(condition: bool, key: str, given: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"config.{key} = {given!r}: expected {expected}")


@dataclass(frozen=True)
class CacheLevelConfig:
    """One set-associative LRU cache level."""

    size_bytes: int = 48 * 1024
    ways: int = 12
    latency_cycles: int = 5

    def __post_init__(self) -> None:
        sets, rest = divmod(self.size_bytes, 64 * self.ways)
        _require(
            rest == 0 and sets > 0 and sets & (sets - 1) == 0,
            "size_bytes",
            self.size_bytes,
            f"64 B blocks x {self.ways} ways x a power of two sets",
        )


@dataclass(frozen=True)
class CacheConfig:
    """The hierarchy that turns all accesses into last-level loads (ML-DPC's machine)."""

    l1d: CacheLevelConfig = CacheLevelConfig(48 * 1024, 12, 5)
    l2: CacheLevelConfig = CacheLevelConfig(512 * 1024, 8, 10)
    llc: CacheLevelConfig = CacheLevelConfig(2 * 1024 * 1024, 16, 20)
    memory_latency_cycles: int = 200


@dataclass(frozen=True)
class WorkloadConfig:
    """A graph kernel that is run and recorded when no trace file is given."""

    kernel: str = "bfs"  # bfs | pr | cc | sssp | bc
    graph: str = "kron"  # kron (R-MAT .57/.19/.19/.05) | uniform
    scale: int = 18  # 2**scale vertices
    degree: int = 16  # average degree of the undirected graph
    seed: int = 1
    instructions: int = 6_000_000  # stop after this many
    cache: CacheConfig = CacheConfig()

    def __post_init__(self) -> None:
        kernels = ("bfs", "pr", "cc", "sssp", "bc")
        _require(self.kernel in kernels, "trace.workload.kernel", self.kernel, f"one of {kernels}")
        _require(
            self.graph in ("kron", "uniform"), "trace.workload.graph", self.graph, "kron or uniform"
        )
        _require(4 <= self.scale <= 24, "trace.workload.scale", self.scale, "4 to 24")
        _require(1 <= self.degree <= 256, "trace.workload.degree", self.degree, "1 to 256")
        _require(
            self.instructions > 0,
            "trace.workload.instructions",
            self.instructions,
            "a positive number",
        )


@dataclass(frozen=True)
class TraceConfig:
    """Where accesses come from and how time is cut into train, validation and test.

    Windows are half open `(start, stop)`, in instruction ids, trace rows or percent of the rows.
    """

    paths: tuple[str, ...] = ()  # empty: record `workload`
    workload: WorkloadConfig = WorkloadConfig()
    unit: str = "instructions"  # instructions | rows | percent (of the rows)
    train: tuple[int, int] = (1_000_000, 7_000_000)
    validation: tuple[int, int] = (7_000_000, 8_000_000)
    test: tuple[int, int] = (8_000_000, 10_000_000)

    def __post_init__(self) -> None:
        _require(
            self.unit in ("instructions", "rows", "percent"),
            "trace.unit",
            self.unit,
            "instructions, rows or percent",
        )
        for name in ("train", "validation", "test"):
            window = getattr(self, name)
            _require(
                len(window) == 2 and 0 <= window[0] < window[1],
                f"trace.{name}",
                window,
                "(start, stop) with 0 <= start < stop",
            )
        _require(
            self.train[1] <= self.validation[0] and self.validation[1] <= self.test[0],
            "trace.validation",
            self.validation,
            "windows in time order: train, then validation, then test, without overlap",
        )


@dataclass(frozen=True)
class FeatureConfig:
    """How a window of accesses becomes inputs, and the accesses after it a delta bitmap."""

    encoding: str = "tokens"  # segments | tokens
    look_back: int = 10  # accesses in a window, the current one included
    horizon: int = 128  # accesses after the current one that labels look at
    delta_bound: int = 128  # |delta| <= bound, in blocks; the bitmap has 2 * bound bits
    keep_empty_labels: bool = True  # False: drop rows without a set bit, as the authors do
    miss_labels: bool = False  # True: only future accesses that miss the LLC are labels
    delta_from: str = "current"  # tokens: deltas to the current access | to the previous one
    delta_exact: int = 32  # tokens: |delta| <= exact has a token of its own
    delta_log_buckets: int = 12  # tokens: buckets per sign beyond, one per octave
    pc_vocabulary: int = 48  # tokens: most frequent PCs of the training rows
    pc_hash_buckets: int = 8  # tokens: what is left is hashed into so many

    def __post_init__(self) -> None:
        _require(
            self.encoding in ("segments", "tokens"),
            "features.encoding",
            self.encoding,
            "segments or tokens",
        )
        _require(
            self.delta_from in ("previous", "current"),
            "features.delta_from",
            self.delta_from,
            "previous or current",
        )
        _require(1 <= self.look_back <= 256, "features.look_back", self.look_back, "1 to 256")
        _require(1 <= self.horizon <= 4096, "features.horizon", self.horizon, "1 to 4096")
        _require(
            self.delta_bound > 0 and self.delta_bound % 4 == 0,
            "features.delta_bound",
            self.delta_bound,
            "a positive multiple of 4 (labels are packed in bytes)",
        )
        _require(self.delta_exact >= 1, "features.delta_exact", self.delta_exact, "at least 1")
        _require(
            1 <= self.delta_log_buckets <= 58,
            "features.delta_log_buckets",
            self.delta_log_buckets,
            "1 to 58",
        )
        _require(
            self.delta_vocabulary <= 256,
            "features.delta_exact",
            self.delta_exact,
            f"at most {127 - self.delta_log_buckets} beside delta_log_buckets ="
            f" {self.delta_log_buckets} (a token is one byte)",
        )
        _require(
            self.pc_tokens <= 256,
            "features.pc_vocabulary",
            self.pc_vocabulary,
            f"at most {256 - self.pc_hash_buckets} beside the hash buckets (a token is one byte)",
        )
        _require(self.pc_vocabulary >= 0, "features.pc_vocabulary", self.pc_vocabulary, "0 or more")
        _require(
            self.pc_hash_buckets >= 1,
            "features.pc_hash_buckets",
            self.pc_hash_buckets,
            "at least 1",
        )

    @property
    def label_bits(self) -> int:
        """Bits D of a label: positive deltas first, then negative ones."""
        return 2 * self.delta_bound

    @property
    def delta_vocabulary(self) -> int:
        """Delta tokens: zero, exact ones and log buckets of both signs."""
        return 1 + 2 * (self.delta_exact + self.delta_log_buckets)

    @property
    def pc_tokens(self) -> int:
        return self.pc_vocabulary + self.pc_hash_buckets


@dataclass(frozen=True)
class ClusterConfig:
    """k-means over the access windows, fitted on training windows."""

    feature: str = (
        "d"  # a: block addresses | d: block deltas | i: PCs | t: page offset of the trigger
    )
    k: int = 3
    minimum_share: float = 0.005  # smaller clusters are merged into their nearest neighbour
    minibatch_rows: int = 200_000  # MiniBatchKMeans above so many rows
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.feature in ("a", "d", "i", "t"), "clusters.feature", self.feature, "a, d, i or t"
        )
        _require(1 <= self.k <= 16, "clusters.k", self.k, "1 to 16")
        _require(
            0 <= self.minimum_share < 1, "clusters.minimum_share", self.minimum_share, "in [0, 1)"
        )


@dataclass(frozen=True)
class ModelConfig:
    """One network; a family ignores the fields whose comments name others only.

    Families: `lstm_flat`, `mixer_flat`, `resnet` are the authors' networks; `lstm`, `mixer`
    run over the accesses of the window; `transformer` and `token_mlp` lie beyond the paper.
    """

    family: str = "token_mlp"
    width: int = 4  # hidden units, channels or model dimension
    depth: int = 1  # layers or blocks; resnet: stages if basic, always [3, 4, 6, 3] if bottleneck
    block: str = "basic"  # resnet: basic | bottleneck
    heads: int = 1  # transformer; they share the width
    delta_width: int = 2  # embedding widths, encoding "tokens"
    pc_width: int = 1
    offset_width: int = 2

    def __post_init__(self) -> None:
        _require(self.family in MODEL_FAMILIES, "family", self.family, f"one of {MODEL_FAMILIES}")
        for name in ("width", "depth", "heads", "delta_width", "pc_width", "offset_width"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.block in ("basic", "bottleneck"), "block", self.block, "basic or bottleneck")
        _require(
            self.width % self.heads == 0,
            "heads",
            self.heads,
            f"a divisor of the width {self.width}",
        )


MODEL_FAMILIES = ("lstm_flat", "mixer_flat", "resnet", "lstm", "mixer", "transformer", "token_mlp")


@dataclass(frozen=True)
class TrainConfig:
    """One training budget: every model that a comparison trains under it takes these steps."""

    steps: int = 3_000
    batch_size: int = 256
    learning_rate: float = 2e-3
    schedule: str = "cosine"  # cosine (to zero) | constant
    warmup_steps: int = 50
    evaluations: int = 6  # looks at validation, evenly spaced; the best one is kept
    patience: int = 0  # looks without a gain before a run's best is final; 0: never
    rows: int = 0  # train on so many rows drawn once from the training rows; 0: all
    execution: str = "auto"  # scan | loop | auto (what was measured faster, per family)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluations"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "patience", "rows"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        _require(
            self.schedule in ("cosine", "constant"), "schedule", self.schedule, "cosine or constant"
        )
        _require(
            self.execution in ("auto", "scan", "loop"),
            "execution",
            self.execution,
            "auto, scan or loop",
        )
        _require(
            self.evaluations <= self.steps,
            "evaluations",
            self.evaluations,
            f"at most steps = {self.steps}",
        )


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
    cluster_features: tuple[str, ...] = ("d",)
    cluster_ks: tuple[int, ...] = (3,)
    soft_dtype: str = "float16"  # float16 | uint8, how soft targets are stored
    soft_budget_bytes: int = 4 * 2**30  # soft targets beyond this stay on disk

    def __post_init__(self) -> None:
        for name in ("alphas", "temperatures", "cluster_features", "cluster_ks"):
            _require(
                len(getattr(self, name)) > 0,
                f"distill.{name}",
                getattr(self, name),
                "at least one candidate",
            )
        for alpha in self.alphas:
            _require(
                len(alpha) > 0 and all(0 <= a <= 1 for a in alpha),
                "distill.alphas",
                self.alphas,
                "values in [0, 1]",
            )
        _require(
            all(t > 0 for t in self.temperatures),
            "distill.temperatures",
            self.temperatures,
            "values above 0",
        )
        _require(
            self.soft_dtype in ("float16", "uint8"),
            "distill.soft_dtype",
            self.soft_dtype,
            "float16 or uint8",
        )
        for feature in self.cluster_features:
            for k in self.cluster_ks:
                ClusterConfig(feature=feature, k=k)


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

    def __post_init__(self) -> None:
        _require(len(self.entries) > 0, "entries", dict(self.entries), "at least one entry")
        for arm in self.arms:
            _require(arm in ARMS, "arms", arm, f"names out of {ARMS}")
        _require(len(set(self.arms)) == len(self.arms) > 0, "arms", self.arms, "distinct arms")
        _require(len(set(self.seeds)) == len(self.seeds) > 0, "seeds", self.seeds, "distinct seeds")
        _require(self.teacher_seeds >= 1, "teacher_seeds", self.teacher_seeds, "at least 1")
        _require(
            1 <= self.tune_seeds <= len(self.seeds),
            "tune_seeds",
            self.tune_seeds,
            f"1 to {len(self.seeds)}",
        )


def to_json_dict(config: Any) -> dict[str, Any]:
    """The plain nested dict of a configuration dataclass (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_config_dict(cls: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """Builds the dataclass `cls` from a mapping (`ConfigDict`, parsed JSON, plain dict).

    Missing keys keep their defaults. Raises ConfigError for an unknown key (naming the
    nearest one), a value of the wrong type, or a value that the class refuses.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    arguments = {}
    for key, value in dict(values).items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = (
                f"did you mean {where}.{near[0]}?"
                if near
                else f"known keys: {', '.join(sorted(known))}"
            )
            raise ConfigError(f"{where}.{key}: no such key; {hint}")
        arguments[key] = _convert(hints[key], value, f"{where}.{key}")
    try:
        return cls(**arguments)
    except ConfigError as error:
        # A nested class only knows its own field: put the path of its parents in front.
        message = str(error)
        field_key = message.removeprefix("config.").split(" ")[0]
        if where != "config" and field_key in known:
            message = f"{where}.{message.removeprefix('config.')}"
        raise ConfigError(message) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not hasattr(value, "items"):
            raise ConfigError(f"{where} = {value!r}: expected a group of keys")
        return from_config_dict(hint, value, where)
    if origin in (Mapping, dict):
        if not hasattr(value, "items"):
            raise ConfigError(f"{where} = {value!r}: expected named groups")
        item = typing.get_args(hint)[1]
        return {str(k): _convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{where} = {value!r}: expected a list of values")
        items, values = typing.get_args(hint), tuple(value)
        if items[-1] is not Ellipsis and len(items) != len(values):
            raise ConfigError(f"{where} = {value!r}: expected {len(items)} values")
        kinds = [items[0]] * len(values) if items[-1] is Ellipsis else items
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, values)))
    if origin in (typing.Union, types.UnionType):
        raise TypeError(f"{where}: optional fields are not used in configurations")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not hint:
        raise ConfigError(
            f"{where} = {value!r}: expected {hint.__name__}, given {type(value).__name__}"
        )
    return value
