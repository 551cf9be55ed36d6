"""Configurations of `experiments/packd.py`: `--config=experiments/configs/packd.py:NAME`.

quick         python -m experiments.packd
              The embedded BFS, both encodings, every arm, 3 seeds.
smoke         A few steps of everything, for the tests.
table_tokens, table_segments
              ... --config=experiments/configs/packd.py:table_tokens --trace=FILE
              The paper's windows, the tiny MLP on tokens or the 10 k Mixer on segments, 3 seeds.
prefetch      ... :prefetch --trace=FILE
              The student that experiments.prefetch makes a prefetcher of, 3 seeds, no teacher.
paper         ... :paper --trace=FILE
              The authors' networks at full size (5.4 M parameters), windows and cluster options.
paper_compat  ... :paper_compat --trace=FILE
              The authors' protocol, quirk by quirk; see packd_jax.config.QuirksConfig.
"""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

from packd_jax.ablation import AUTHORS
from packd_jax.config import (
    ARMS,
    Config,
    ConfigError,
    DistillConfig,
    EntryConfig,
    FeatureConfig,
    ModelConfig,
    TraceConfig,
    TrainConfig,
    WorkloadConfig,
)
from packd_jax.models import PAPER_MODELS

SEGMENTS = FeatureConfig(encoding="segments")
TOKENS = FeatureConfig(encoding="tokens")
TOKEN_STUDENT = ModelConfig("token_mlp", width=4, delta_width=2, pc_width=1, offset_width=2)
TOKEN_TEACHER = ModelConfig("token_mlp", width=64, delta_width=8, pc_width=4, offset_width=8)
MIXER_TEACHER = ModelConfig("mixer_flat", width=64, depth=6)  # 49,998 parameters


def _entries(student_steps: int, teacher_steps: int, looks: int) -> dict[str, EntryConfig]:
    """The paper's Mixer on segments and the tiny MLP on tokens, each with a larger teacher."""

    def train(steps: int, rate: float) -> TrainConfig:
        return TrainConfig(steps=steps, learning_rate=rate, evaluations=looks)

    return {
        "segments_mixer": EntryConfig(
            features=SEGMENTS,
            student=PAPER_MODELS["mixer_student"],
            teacher=MIXER_TEACHER,
            student_train=train(student_steps, 2e-3),
            teacher_train=train(teacher_steps, 1e-3),
        ),
        "tokens_mlp": EntryConfig(
            features=TOKENS,
            student=TOKEN_STUDENT,
            teacher=TOKEN_TEACHER,
            student_train=train(student_steps, 1e-2),
            teacher_train=train(teacher_steps, 2e-3),
        ),
    }


def quick() -> Config:
    """The whole method on the embedded workload, in about two minutes on 2 cores.

    The paper's LSTM student on segments, as it is the family that trains quickest, beside the
    tiny MLP on tokens.
    """
    entries = _entries(1200, 800, 3)
    lstm = dataclasses.replace(
        entries.pop("segments_mixer"),
        student=PAPER_MODELS["lstm_student"],
        teacher=ModelConfig("lstm_flat", width=64, depth=2),  # 91,904 parameters
    )
    return Config(
        trace=TraceConfig(
            workload=WorkloadConfig(),
            unit="percent",
            train=(5, 65),
            validation=(65, 80),
            test=(80, 100),
        ),
        entries={"segments_lstm": lstm, **entries},
    )


def smoke() -> Config:
    """Everything once at the smallest size: seconds, for tests."""
    config = quick()
    trace = dataclasses.replace(
        config.trace, workload=WorkloadConfig(scale=12, instructions=300_000)
    )
    entries = {
        name: dataclasses.replace(
            entry,
            student=dataclasses.replace(entry.student, depth=1),
            student_train=dataclasses.replace(entry.student_train, steps=6, evaluations=2),
            teacher=dataclasses.replace(entry.teacher, width=8, depth=1),
            teacher_train=dataclasses.replace(entry.teacher_train, steps=4, evaluations=2),
        )
        for name, entry in _entries(6, 4, 2).items()
    }
    return dataclasses.replace(
        config,
        trace=trace,
        entries=entries,
        seeds=(0, 1),
        distill=DistillConfig(cluster_ks=(2,)),
    )


def smoke_tokens() -> Config:
    """The tokens' half of `smoke` with more steps, for tests that interrupt it."""
    config = smoke()
    entry = config.entries["tokens_mlp"]
    entry = dataclasses.replace(
        entry,
        student_train=dataclasses.replace(entry.student_train, steps=300, evaluations=5),
        teacher_train=dataclasses.replace(entry.teacher_train, steps=300, evaluations=5),
    )
    return dataclasses.replace(config, entries={"tokens_mlp": entry})


def prefetch() -> Config:
    """A student whose integers take less than 2 KB with all state; a minute a trace on 2 cores."""
    features = FeatureConfig(horizon=64, delta_bound=32, miss_labels=True)
    entry = EntryConfig(
        features=features,
        student=dataclasses.replace(TOKEN_STUDENT, width=10),
        student_train=TrainConfig(steps=3000, batch_size=512, learning_rate=4e-3, evaluations=3),
    )
    return Config(entries={"prefetch": entry}, arms=("no_kd",))


def table(entry: str = "tokens_mlp") -> Config:
    """One entry of the committed table: paper windows, 3 seeds; see experiments/results.

    On 2 cores 4 to 8 minutes a trace for the tokens, where validation chooses the cluster
    feature; 10 to 15 for the Mixer on segments.
    """
    features = ("a", "d", "i", "t") if entry == "tokens_mlp" else ("a",)
    return Config(
        entries={entry: _entries(3500, 3500, 5)[entry]},
        distill=DistillConfig(cluster_features=features),
    )


def distillation_map() -> Config:
    """The regimes of experiments/kd_map.py: token students, 5 seeds, teachers of their own."""
    entry = _entries(1500, 3000, 10)["tokens_mlp"]
    return Config(
        entries={"tokens_mlp": entry},
        arms=tuple(arm for arm in ARMS if arm != "marginal"),
        distill=DistillConfig(cluster_features=("a",)),
        seeds=(0, 1, 2, 3, 4),
        teacher_seeds=5,
    )


def paper(family: str = "mixer") -> Config:
    """The authors' networks and options, trained to convergence under the honest protocol."""
    entry = EntryConfig(
        features=SEGMENTS,
        student=PAPER_MODELS[f"{family}_student"],
        teacher=PAPER_MODELS[f"{family}_teacher"],
        student_train=TrainConfig(steps=3500, learning_rate=2e-3),
        teacher_train=TrainConfig(steps=3500, learning_rate=3e-4),
    )
    return Config(
        entries={f"segments_{family}": entry},
        distill=DistillConfig(
            alphas=((0.1,), (0.5,)), cluster_features=("a", "d", "i"), cluster_ks=(2, 3, 4)
        ),
    )


def paper_compat(family: str = "mixer") -> Config:
    """What the authors ran: 30 epochs of Adam at 1e-5, test-set selection, and the rest."""
    rows = 175_000  # steps are counted, not epochs: about 30 epochs of so many rows
    steps = 30 * rows // 256
    settings = TrainConfig(
        steps=steps,
        learning_rate=1e-5,
        schedule="constant",
        warmup_steps=0,
        evaluations=30,
        patience=5,
    )
    entry = EntryConfig(
        features=dataclasses.replace(SEGMENTS, keep_empty_labels=False),
        student=PAPER_MODELS[f"{family}_student"],
        teacher=PAPER_MODELS[f"{family}_teacher"],
        student_train=settings,
        teacher_train=settings,
    )
    return Config(
        # They have no validation split. With select_on_test none is read, but one must exist.
        trace=TraceConfig(train=(1_000_000, 7_900_000), validation=(7_900_000, 8_000_000)),
        entries={f"segments_{family}": entry},
        arms=("marginal", "no_kd", "kd", "packd"),
        seeds=(100,),
        distill=DistillConfig(
            alphas=((0.1,), (0.5,), (1.0,)), cluster_features=("a", "d", "i"), cluster_ks=(2, 3, 4)
        ),
        quirks=dataclasses.replace(AUTHORS, lstm_along_batch=family == "lstm"),
    )


CONFIGS = {
    "quick": quick,
    "smoke": smoke,
    "smoke_tokens": smoke_tokens,
    "table_tokens": table,
    "table_segments": lambda: table("segments_mixer"),
    "prefetch": prefetch,
    "map": distillation_map,
    "paper": paper,
    "paper_lstm": lambda: paper("lstm"),
    "paper_resnet": lambda: paper("resnet"),
    "paper_compat": paper_compat,
    "paper_compat_lstm": lambda: paper_compat("lstm"),
    "paper_compat_resnet": lambda: paper_compat("resnet"),
}


def study(name: str) -> Config:
    """The configuration of that name."""
    if name not in CONFIGS:
        raise ConfigError(f"config {name!r}: expected one of {', '.join(CONFIGS)}")
    return dataclasses.replace(CONFIGS[name](), name=name)


def get_config(name: str = "quick") -> ConfigDict:
    """The same as a ConfigDict, so that `--config.a.b=...` may change it."""
    return ConfigDict(dataclasses.asdict(study(name)))
