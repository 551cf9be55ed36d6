"""Networks and their training budgets."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config.checks import require


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
        require(self.family in MODEL_FAMILIES, "family", self.family, f"one of {MODEL_FAMILIES}")
        for name in ("width", "depth", "heads", "delta_width", "pc_width", "offset_width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.block in ("basic", "bottleneck"), "block", self.block, "basic or bottleneck")
        require(
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
    execution: str = "auto"  # scan | loop | epoch | auto (what suits the platform)
    compute_dtype: str = "float32"  # float32 | bfloat16, of training; parameters stay float32
    shuffle_rows: int = 2**21  # splits of more rows are drawn window by window, in lanes
    lanes: int = 8  # parts of a batch from windows of their own; divides by devices and processes

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluations"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "patience", "rows"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        for name, choices in (
            ("schedule", ("cosine", "constant")),
            ("execution", ("auto", "scan", "loop", "epoch")),
            ("compute_dtype", ("float32", "bfloat16")),
        ):
            value = getattr(self, name)
            require(value in choices, name, value, " or ".join(choices))
        for name in ("shuffle_rows", "lanes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(
            self.evaluations <= self.steps,
            "evaluations",
            self.evaluations,
            f"at most steps = {self.steps}",
        )
