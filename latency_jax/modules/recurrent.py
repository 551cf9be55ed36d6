"""LSTM layers over `[batch_size, tokens, in_features]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import numpy as np

from latency_jax.modules.activations import FLOPS
from latency_jax.modules.counting import item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import register
from latency_jax.modules.sizes import FEATURES, TOKENS

PARAMETERS = (
    replace(TOKENS, high=1024),
    replace(FEATURES, name="in_features"),
    FEATURES,
)


def _make(v: Mapping[str, Any]) -> Built:
    cell = nn.OptimizedLSTMCell(
        v["features"],
        recurrent_kernel_init=nn.initializers.lecun_normal(),  # orthogonal ones are f32 only
        dtype=v["dtype"],
        param_dtype=v["dtype"],
    )
    return Built(nn.RNN(cell), (shape(v, v["batch_size"], v["tokens"], v["in_features"]),))


def _count(v: Mapping[str, np.ndarray]) -> Cost:
    steps, features, inputs = v["batch_size"] * v["tokens"], v["features"], v["in_features"]
    item = item_bytes(v["dtype"])
    gates = 4 * (2 * (inputs + features) + 2)  # products, their sum, one bias
    state = 3 * FLOPS["sigmoid"] + 2 * FLOPS["tanh"] + 4
    return Cost(
        flops=steps * features * (gates + state),
        input_bytes=steps * inputs * item,
        weight_bytes=4 * (inputs + features + 1) * features * item,
        output_bytes=steps * features * item,
    )


def _work(v: Mapping[str, np.ndarray]) -> Any:
    cost = _count(v)
    weights = cost.weight_bytes / item_bytes(v["dtype"])
    state = v["batch_size"] * v["features"]
    # Every step reads the weights anew, and starts a dozen small kernels.
    return cost.flops + v["tokens"] * (5e5 + 40 * weights + 200 * state)


LSTM = register(ModuleKind("lstm", PARAMETERS, _make, _count, work=_work))
