"""`ModelConfig` to network, the sizes of networks, and the ones that have names."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax

from packd_jax.config import MODEL_FAMILIES, ModelConfig
from packd_jax.models.inputs import InputSpec
from packd_jax.models.lstm import LSTM, FlatLSTM
from packd_jax.models.mixer import Mixer
from packd_jax.models.resnet import ResNet
from packd_jax.models.token_mlp import TokenMLP
from packd_jax.models.transformer import Transformer

# The authors' networks, for the encoding "segments".
PAPER_MODELS = {
    "lstm_teacher": ModelConfig("lstm_flat", width=128, depth=40),
    "lstm_student": ModelConfig("lstm_flat", width=16, depth=1),
    "mixer_teacher": ModelConfig("mixer_flat", width=512, depth=20),
    "mixer_student": ModelConfig("mixer_flat", width=18, depth=8),
    "resnet_teacher": ModelConfig("resnet", width=30, depth=4, block="bottleneck"),
    "resnet_student": ModelConfig("resnet", width=4, depth=3),
}

# Networks of about the same sizes whose recurrence, mixing or attention has accesses to run over.
MEANT_MODELS = {
    "lstm_teacher": ModelConfig("lstm", width=660, depth=2),
    "lstm_student": ModelConfig("lstm", width=24, depth=1),
    "mixer_teacher": ModelConfig("mixer", width=512, depth=20),
    "mixer_student": ModelConfig("mixer", width=18, depth=6),
    "transformer_teacher": ModelConfig("transformer", width=256, depth=7, heads=4),
}


def build_model(config: ModelConfig, inputs: InputSpec, along_batch: bool = False) -> nn.Module:
    """The network of `config`: a module called as `(batch, train) -> logits f32[B, D]`.

    `model.init(key, inputs.zeros(), train=False)` gives `params`, and `batch_stats` where there
    is BatchNorm (family resnet); under `jit` it compiles in a fraction of the time that its
    operations take one by one. `along_batch` is a quirk of the authors' LSTM: family lstm_flat
    then runs over the rows of a batch; it means nothing to the other families.
    """
    match config.family:
        case "lstm_flat":
            return FlatLSTM(config, inputs, along_batch=along_batch)
        case "mixer_flat":
            return Mixer(config, inputs, flat=True)
        case "resnet":
            return ResNet(config, inputs)
        case "lstm":
            return LSTM(config, inputs)
        case "mixer":
            return Mixer(config, inputs)
        case "transformer":
            return Transformer(config, inputs)
        case "token_mlp":
            return TokenMLP(config, inputs)
    raise ValueError(f"family = {config.family!r}: expected one of {MODEL_FAMILIES}")


def parameter_count(params: Any) -> int:
    """Scalars in a pytree of arrays (or of their shapes, as `jax.eval_shape` gives them)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def parameter_bytes(params: Any) -> int:
    """Bytes of a pytree of arrays (or of their shapes) as they lie in memory."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
