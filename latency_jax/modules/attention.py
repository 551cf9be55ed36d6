"""Self-attention and transformer blocks over `[batch_size, tokens, features]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from latency_jax.modules.activations import FLOPS
from latency_jax.modules.counting import LAYER_NORM, SOFTMAX, item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import FEATURES, HEADS, TOKENS

SCORE_WORK, GELU_WORK = 450, 400  # a score or a GELU takes as long as so many FLOPs of a product
MLP_DIM = replace(FEATURES, name="mlp_dim", default=256)


class TransformerBlock(nn.Module):
    """Attention, then two dense layers with GELU, each after a layer norm and with a residual."""

    heads: int
    mlp_dim: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        y = nn.LayerNorm(**types)(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, deterministic=True, **types)(y)
        y = nn.Dense(self.mlp_dim, **types)(nn.LayerNorm(**types)(x))
        return x + nn.Dense(x.shape[-1], **types)(nn.gelu(y))


def mlp_flops(rows: Any, features: Any, hidden: Any) -> Any:
    """Two dense layers with biases, a GELU between, a layer norm before, a residual after."""
    products = 4 * features * hidden + features + hidden * (1 + FLOPS["gelu"])
    return rows * (products + features * (LAYER_NORM + 1))


def mlp_weights(features: Any, hidden: Any) -> Any:
    """Numbers in two dense layers with biases."""
    return 2 * features * hidden + features + hidden


def _attention_flops(v: Mapping[str, np.ndarray]) -> np.ndarray:
    rows, features = v["batch_size"] * v["tokens"], v["features"]
    projections = 4 * features * (2 * features + 1)
    scores = v["tokens"] * (4 * features + v["heads"] * SOFTMAX)
    return rows * (projections + scores + features)  # queries are scaled


def _tokens_cost(v: Mapping[str, np.ndarray], flops: Any, weights: Any) -> Cost:
    item = item_bytes(v["dtype"])
    size = v["batch_size"] * v["tokens"] * v["features"] * item
    return Cost(flops, size, weights * item, size)


def _count_attention(v: Mapping[str, np.ndarray]) -> Cost:
    return _tokens_cost(v, _attention_flops(v), 4 * v["features"] * (v["features"] + 1))


def _count_block(v: Mapping[str, np.ndarray]) -> Cost:
    rows, features = v["batch_size"] * v["tokens"], v["features"]
    flops = _attention_flops(v) + rows * features * (LAYER_NORM + 1)
    weights = 4 * features * (features + 1) + mlp_weights(features, v["mlp_dim"]) + 4 * features
    return _tokens_cost(v, flops + mlp_flops(rows, features, v["mlp_dim"]), weights)


def _attention_work(v: Mapping[str, np.ndarray]) -> Any:
    scores = v["batch_size"] * v["heads"] * v["tokens"] ** 2
    return _attention_flops(v) + SCORE_WORK * scores


def _block_work(v: Mapping[str, np.ndarray]) -> Any:
    hidden = v["batch_size"] * v["tokens"] * v["mlp_dim"]
    return (
        _count_block(v).flops
        + SCORE_WORK * v["batch_size"] * v["heads"] * v["tokens"] ** 2
        + GELU_WORK * hidden
    )


def _tokens(v: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    return shape(v, v["batch_size"], v["tokens"], v["features"])


def _make_attention(v: Mapping[str, Any]) -> Built:
    attention = nn.MultiHeadDotProductAttention(
        v["heads"], dtype=v["dtype"], param_dtype=v["dtype"], deterministic=True
    )
    return Built(attention, (_tokens(v),))


def _heads_divide(v: Mapping[str, Any]) -> bool:
    return v["features"] % v["heads"] == 0


ATTENTION = register(
    ModuleKind(
        "multi_head_attention",
        (TOKENS, FEATURES, HEADS),
        _make_attention,
        _count_attention,
        _heads_divide,
        _attention_work,
    )
)
TRANSFORMER_BLOCK = register(
    ModuleKind(
        "transformer_block",
        (TOKENS, FEATURES, HEADS, MLP_DIM),
        lambda v: Built(TransformerBlock(v["heads"], v["mlp_dim"], v["dtype"]), (_tokens(v),)),
        _count_block,
        _heads_divide,
        _block_work,
    )
)
