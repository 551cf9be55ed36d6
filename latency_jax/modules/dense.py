"""Dense layers and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from latency_jax.modules.activations import Activated, activation_flops
from latency_jax.modules.counting import is_on, item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import ACTIVATION, FEATURES, POSITIONS, USE_BIAS
from latency_jax.parameters import Parameter

IN_FEATURES = replace(FEATURES, name="in_features")
OUT_FEATURES = replace(FEATURES, name="out_features")


class Embedding(nn.Module):
    """An embedding table; indices are taken modulo its rows, so any whole numbers will do."""

    vocabulary: int
    features: int
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        table = nn.Embed(self.vocabulary, self.features, self.dtype, param_dtype=self.dtype)
        return table(jnp.mod(tokens, self.vocabulary))


def _make_dense(v: Mapping[str, Any]) -> Built:
    layer = nn.Dense(
        v["out_features"], use_bias=v["use_bias"], dtype=v["dtype"], param_dtype=v["dtype"]
    )
    inputs = shape(v, v["batch_size"], v["positions"], v["in_features"])
    return Built(Activated(layer, v["activation"]), (inputs,))


def _count_dense(v: Mapping[str, np.ndarray]) -> Cost:
    rows, item, bias = (
        v["batch_size"] * v["positions"],
        item_bytes(v["dtype"]),
        is_on(v["use_bias"]),
    )
    return Cost(
        flops=rows
        * v["out_features"]
        * (2 * v["in_features"] + bias + activation_flops(v["activation"])),
        input_bytes=rows * v["in_features"] * item,
        weight_bytes=(v["in_features"] + bias) * v["out_features"] * item,
        output_bytes=rows * v["out_features"] * item,
    )


def _make_embedding(v: Mapping[str, Any]) -> Built:
    tokens = shape(v, v["batch_size"], v["tokens"], dtype="int32")
    return Built(Embedding(v["vocabulary"], v["features"], v["dtype"]), (tokens,))


def _count_embedding(v: Mapping[str, np.ndarray]) -> Cost:
    tokens, item = v["batch_size"] * v["tokens"], item_bytes(v["dtype"])
    return Cost(
        flops=0.0,
        input_bytes=tokens * 4,
        weight_bytes=v["vocabulary"] * v["features"] * item,
        output_bytes=tokens * v["features"] * item,
    )


DENSE = register(
    ModuleKind(
        "dense",
        (IN_FEATURES, OUT_FEATURES, POSITIONS, ACTIVATION, USE_BIAS),
        _make_dense,
        _count_dense,
    )
)
EMBEDDING = register(
    ModuleKind(
        "embedding",
        (
            Parameter("vocabulary", default=1000, low=2, high=262144, scale="log"),
            FEATURES,
            replace(POSITIONS, name="tokens", default=64),
        ),
        _make_embedding,
        _count_embedding,
        # Of the table only the rows of the tokens are read, and checked one by one.
        work=lambda v: 160.0 * v["batch_size"] * v["tokens"] * v["features"],
        max_bytes=128e6,
    )
)
