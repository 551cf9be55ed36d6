"""ResNets (He et al. 2016) that see the window as an image with one channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax

from packd_jax.config import ModelConfig
from packd_jax.models.inputs import InputSpec, WindowEncoder
from packd_jax.models.layers import BatchNorm, Conv, Dense

BOTTLENECK_STAGES = (3, 4, 6, 3)  # blocks per stage of ResNet-50
BOTTLENECK_EXPANSION = 4


class ResidualBlock(nn.Module):
    """Basic (two 3x3) or bottleneck (1x1, 3x3, 1x1) block; the stride is on the first 3x3."""

    channels: int
    stride: int
    bottleneck: bool
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.bottleneck:
            layers = [
                (self.channels, 1, 1),
                (self.channels, 3, self.stride),
                (self.channels * BOTTLENECK_EXPANSION, 1, 1),
            ]
        else:
            layers = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        y = x
        for i, (channels, size, stride) in enumerate(layers):
            y = nn.relu(y) if i else y
            y = Conv(channels, size, stride, name=f"conv_{i}")(y)
            y = self.norm(name=f"norm_{i}")(y)
        if x.shape != y.shape:
            x = Conv(y.shape[-1], 1, self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The authors' ResNet on the image f32[L, F], stem width `width`, doubling every stage.

    `block` "basic": `depth` stages of one block; "bottleneck": [3, 4, 6, 3], `depth` unused.
    BatchNorm has PyTorch's momentum and epsilon (its running variance is the biased one).
    """

    config: ModelConfig
    spec: InputSpec

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> jax.Array:
        norm = partial(BatchNorm, use_running_average=not train)
        bottleneck = self.config.block == "bottleneck"
        stages = BOTTLENECK_STAGES if bottleneck else (1,) * self.config.depth
        x = WindowEncoder(self.config, self.spec, name="encoder").sequence(inputs)[..., None]
        x = nn.relu(norm(name="stem_norm")(Conv(self.config.width, 3, name="stem")(x)))
        for stage, blocks in enumerate(stages):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                channels = self.config.width * 2**stage
                name = f"stage_{stage}_block_{block}"
                x = ResidualBlock(channels, stride, bottleneck, norm, name=name)(x)
        return Dense(self.spec.label_bits, name="output")(x.mean(axis=(1, 2)))
