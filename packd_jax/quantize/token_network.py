"""A trained student as plain arrays: one embedding table for each kind of token, dense layers.

Nothing here knows what the tokens mean. Those of accesses (`ACCESS_INPUTS`) lie side by side at
each access, those of the window behind them, in the order of `InputSpec.shapes`; that is how
`WindowEncoder` feeds a `TokenMLP`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import ConfigError, ModelConfig
from packd_jax.models.inputs import ACCESS_INPUTS, InputSpec


class TokenNetwork(NamedTuple):
    """A TokenMLP whose first kernel is sorted by kind of token; a pytree of float arrays."""

    tables: dict[str, Any]  # f[V, E], by name: the order in which JAX keeps a dict
    kernels: list[Any]  # f[I, O]; ReLU after all but the last
    biases: list[Any]  # f[O]


def token_steps(spec: InputSpec) -> dict[str, int]:
    """How many tokens of each kind a window has."""
    return {name: shape[1] if len(shape) > 1 else 1 for name, shape in spec.shapes(1).items()}


def token_network(params: Mapping[str, Any], config: ModelConfig, spec: InputSpec) -> TokenNetwork:
    """The network of `params`, the parameters of `build_model(config, spec)`.

    Raises ConfigError for a student of another family or encoding.
    """
    if config.family != "token_mlp" or spec.encoding == "segments":
        raise ConfigError(
            f"the student is a {config.family} over {spec.encoding}: expected a token_mlp over"
            " tokens, the only kind that becomes integers"
        )
    shapes = spec.shapes(1)
    tables = {
        # The cluster enters as a one-hot vector, which is an embedding, too.
        name: np.eye(spec.clusters)
        if name == "cluster"
        else np.asarray(params["encoder"][name]["embedding"], np.float64)
        for name in sorted(shapes)
    }
    names = [*(f"hidden_{number}" for number in range(config.depth)), "output"]
    kernels = [np.asarray(params[name]["kernel"], np.float64) for name in names]
    biases = [np.asarray(params[name]["bias"], np.float64) for name in names]
    kernels[0] = kernels[0][_rows_by_table(tables, shapes)]
    return TokenNetwork(tables, kernels, biases)


def _rows_by_table(
    tables: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> np.ndarray:
    """Where the inputs of each table, token after token, lie in the flattened window, i64[I]."""
    of_access = [name for name in shapes if name in ACCESS_INPUTS]
    steps = max([1, *(shapes[name][1] for name in of_access)])
    stride = sum(tables[name].shape[1] for name in of_access)
    rows, inner, outer = {}, 0, steps * stride
    for name, shape in shapes.items():
        width = tables[name].shape[1]
        if name in of_access:
            rows[name] = np.arange(steps)[:, None] * stride + inner + np.arange(width)[None]
            inner += width
        else:
            rows[name] = outer + np.arange(math.prod(shape[1:]) * width)
            outer += rows[name].size
    return np.concatenate([rows[name].ravel() for name in tables])


def embed(network: TokenNetwork, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The floats that the first layer is fed, f[N, I]."""
    parts = [table[inputs[name]] for name, table in network.tables.items()]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
