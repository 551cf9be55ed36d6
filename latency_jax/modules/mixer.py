"""Blocks of MLP-Mixers (Tolstikhin et al. 2021) over `[batch_size, tokens, features]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from latency_jax.modules.attention import GELU_WORK, mlp_flops, mlp_weights
from latency_jax.modules.counting import item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import FEATURES, TOKENS

PARAMETERS = (
    TOKENS,
    FEATURES,
    replace(FEATURES, name="tokens_mlp_dim"),
    replace(FEATURES, name="channels_mlp_dim", default=256),
)


class MixerBlock(nn.Module):
    """A perceptron along the tokens, one along the features, each normed and with a residual."""

    tokens_mlp_dim: int
    channels_mlp_dim: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        y = jnp.swapaxes(nn.LayerNorm(**types)(x), 1, 2)
        y = nn.gelu(nn.Dense(self.tokens_mlp_dim, **types)(y))
        x = x + jnp.swapaxes(nn.Dense(x.shape[1], **types)(y), 1, 2)
        y = nn.gelu(nn.Dense(self.channels_mlp_dim, **types)(nn.LayerNorm(**types)(x)))
        return x + nn.Dense(x.shape[-1], **types)(y)


def _make(v: Mapping[str, Any]) -> Built:
    block = MixerBlock(v["tokens_mlp_dim"], v["channels_mlp_dim"], v["dtype"])
    return Built(block, (shape(v, v["batch_size"], v["tokens"], v["features"]),))


def _count(v: Mapping[str, np.ndarray]) -> Cost:
    batch, tokens, features = v["batch_size"], v["tokens"], v["features"]
    along_tokens, along_features = v["tokens_mlp_dim"], v["channels_mlp_dim"]
    item = item_bytes(v["dtype"])
    weights = mlp_weights(tokens, along_tokens) + mlp_weights(features, along_features)
    size = batch * tokens * features * item
    return Cost(
        flops=mlp_flops(batch * features, tokens, along_tokens)
        + mlp_flops(batch * tokens, features, along_features),
        input_bytes=size,
        weight_bytes=(weights + 4 * features) * item,
        output_bytes=size,
    )


def _work(v: Mapping[str, np.ndarray]) -> Any:
    hidden = v["features"] * v["tokens_mlp_dim"] + v["tokens"] * v["channels_mlp_dim"]
    transposed = v["tokens"] * v["features"]
    return _count(v).flops + GELU_WORK * v["batch_size"] * (hidden + transposed)


MIXER_BLOCK = register(ModuleKind("mixer_block", PARAMETERS, _make, _count, work=_work))
