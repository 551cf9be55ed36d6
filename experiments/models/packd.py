"""The students and teachers of packd_jax on their windows, called with arrays.

--model=experiments.models.packd:FACTORY --input=1,10:uint8 --input=1,10:uint8 --input=1:uint8
    lstm_student, lstm_teacher, mixer_student, mixer_teacher, transformer_teacher (tokens)
--model=experiments.models.packd:resnet_student --input=1,10,10:uint8
    resnet_student, resnet_teacher (segments)
"""

from __future__ import annotations

import flax.linen as nn
import jax

from packd_jax.config import ModelConfig
from packd_jax.models.build import MEANT_MODELS, PAPER_MODELS, build_model
from packd_jax.models.inputs import InputSpec


class OnArrays(nn.Module):
    """A network whose batch is given array by array, in the order of its `InputSpec`."""

    network: nn.Module
    spec: InputSpec

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> jax.Array:
        """u8 arrays -> logits f32[B, D]"""
        batch = dict(zip(self.spec.shapes(1), inputs, strict=True))
        return self.network(batch, train=False)


def _network(config: ModelConfig, encoding: str) -> nn.Module:
    spec = InputSpec(encoding=encoding)
    return OnArrays(build_model(config, spec), spec)


def lstm_student() -> nn.Module:
    return _network(MEANT_MODELS["lstm_student"], "tokens")


def lstm_teacher() -> nn.Module:
    return _network(MEANT_MODELS["lstm_teacher"], "tokens")


def mixer_student() -> nn.Module:
    return _network(MEANT_MODELS["mixer_student"], "tokens")


def mixer_teacher() -> nn.Module:
    return _network(MEANT_MODELS["mixer_teacher"], "tokens")


def transformer_teacher() -> nn.Module:
    return _network(MEANT_MODELS["transformer_teacher"], "tokens")


def resnet_student() -> nn.Module:
    return _network(PAPER_MODELS["resnet_student"], "segments")


def resnet_teacher() -> nn.Module:
    return _network(PAPER_MODELS["resnet_teacher"], "segments")
