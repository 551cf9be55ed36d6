"""Post-training quantisation: ranges seen on training rows, scales of them, integers of both.

Every scale is per channel where that costs nothing in the end: columns of tables and hidden
units have their own (folded into the next kernel), hidden kernels one per output (part of the
multiplier). The output kernel has one scale for all logits, so that one threshold fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.quantize.integer_student import (
    ACTIVATION_LIMIT,
    HIDDEN_BITS,
    TABLE_LIMIT,
    IntegerStudent,
    Layer,
    TokenTable,
    weight_limit,
)
from packd_jax.quantize.token_network import TokenNetwork, embed

CLIPS = np.linspace(0.3, 1.0, 29)  # shares of the largest weight that may be the largest integer


class Ranges(NamedTuple):
    """The largest magnitudes that integers must be able to say."""

    tables: dict[str, np.ndarray]  # f[E], by column
    hidden: list[np.ndarray]  # f[O], of the units of each hidden layer


class Scales(NamedTuple):
    """What the integer 1 stands for; a pytree of arrays."""

    tables: dict[str, Any]  # f[E], by column
    hidden: list[Any]  # f[O], of the units of each hidden layer
    kernels: list[Any]  # f[O], output: f[1]; of a layer's sums, and so of its folded weights


def calibrate(network: TokenNetwork, inputs: Mapping[str, np.ndarray]) -> Ranges:
    """Ranges on the given windows: of the embeddings of tokens that occur, and of hidden units.

    What lies beyond, on other windows, saturates.
    """
    tables = {
        name: np.abs(table[np.unique(inputs[name])]).max(axis=0)
        for name, table in network.tables.items()
    }
    hidden, x = [], embed(network, inputs)
    for kernel, bias in zip(network.kernels[:-1], network.biases[:-1]):
        x = np.maximum(x @ kernel + bias[None], 0)
        hidden.append(x.max(axis=0))
    return Ranges(tables, hidden)


def bounds(network: TokenNetwork, steps: Mapping[str, int]) -> Ranges:
    """Ranges that no window whatever can leave, for want of rows to calibrate on."""
    kernel, start = network.kernels[0], 0
    most = np.array(network.biases[0])
    for name, table in network.tables.items():
        for _ in range(steps[name]):
            stop = start + table.shape[1]
            most += (table @ kernel[start:stop]).max(axis=0)
            start = stop
    hidden = []
    for kernel, bias in zip(network.kernels[1:], network.biases[1:]):
        hidden.append(np.maximum(most, 0))
        most = np.maximum(kernel, 0).T @ hidden[-1] + bias
    return Ranges({name: np.abs(t).max(axis=0) for name, t in network.tables.items()}, hidden)


def choose_scales(
    network: TokenNetwork,
    ranges: Ranges,
    steps: Mapping[str, int],
    weight_bits: int,
    equalize: float = 16.0,
    clips: np.ndarray = CLIPS,
) -> Scales:
    """Scales that reach the ranges, and err least in the weights.

    Inputs of a layer whose weights are small get coarser steps, by a factor of at most
    `equalize`, and so larger integer weights: activations have bits to spare, weights have not
    (cross-layer equalisation: Nagel et al. 2019, arXiv 1906.04721).
    """
    weights = _by_column(network.kernels[0], network.tables, steps)
    tables = {
        name: _equalized(ranges.tables[name], weights[name], equalize) / TABLE_LIMIT
        for name in network.tables
    }
    hidden = [
        _equalized(most, np.abs(kernel).max(axis=1), equalize) / ACTIVATION_LIMIT
        for most, kernel in zip(ranges.hidden, network.kernels[1:])
    ]
    kernels, scale = [], _input_scale(tables, steps)
    for kernel, bias, following in zip(network.kernels[:-1], network.biases[:-1], hidden):
        unit = weight_scales(kernel * scale[:, None], HIDDEN_BITS, clips)
        kernels.append(np.maximum(unit, np.abs(bias) / 2**23))  # a unit of nearly no weights
        scale = following
    last = (network.kernels[-1] * scale[:, None]).reshape(-1, 1)
    return Scales(tables, hidden, [*kernels, weight_scales(last, weight_bits, clips)])


def quantize_network(
    network: TokenNetwork,
    scales: Scales,
    steps: Mapping[str, int],
    threshold: float,
    weight_bits: int,
    features: FeatureConfig,
    pc_vocabulary: np.ndarray,
) -> IntegerStudent:
    """The integers nearest to a network; `threshold` is a logit."""
    tables = [
        TokenTable(name, steps[name], _round(table, scales.tables[name], TABLE_LIMIT))
        for name, table in network.tables.items()
    ]
    scale, layers = _input_scale(scales.tables, steps), []
    for kernel, bias, unit, following in zip(
        network.kernels[:-1], network.biases[:-1], scales.kernels[:-1], scales.hidden
    ):
        integers = _round(kernel * scale[:, None], unit, weight_limit(HIDDEN_BITS))
        multiplier, shift = fixed_point(unit / following)
        layers.append(Layer(integers, np.rint(bias / unit).astype(np.int32), 1, multiplier, shift))
        scale = following
    (unit,) = scales.kernels[-1]
    folded, limit = network.kernels[-1] * scale[:, None], weight_limit(weight_bits)
    integers = _round(folded, np.full(1, unit), limit)
    layers.append(
        Layer(integers, *_byte_bias(network.biases[-1] / unit), np.zeros(0, np.uint16), 0)
    )
    return IntegerStudent(
        tables=tuple(tables),
        layers=tuple(layers),
        threshold=int(np.ceil(threshold / unit)),
        logit_scale=float(unit),
        weight_bits=weight_bits,
        features=features,
        pc_vocabulary=pc_vocabulary,
    )


def weight_scales(kernel: np.ndarray, weight_bits: int, clips: np.ndarray) -> np.ndarray:
    """The scale of each output of f[I, O] whose integers differ least from it, f[O].

    `clips` are the shares of the largest weight to try as the largest that integers can say:
    few bits gain from letting some saturate.
    """
    limit = weight_limit(weight_bits)
    largest = positive(np.abs(kernel).max(axis=0, initial=0))
    tried = largest[None] * clips[:, None] / limit
    error = [((_round(kernel, s, limit) * s[None] - kernel) ** 2).sum(axis=0) for s in tried]
    return tried[np.argmin(error, axis=0), np.arange(kernel.shape[1])]


def fixed_point(ratio: np.ndarray) -> tuple[np.ndarray, int]:
    """Ratios f[O] above 0 as multipliers u16[O] over 2**shift, as fine as the largest allows."""
    shift = int(np.clip(15 - np.floor(np.log2(ratio.max())), 1, 47))
    return np.clip(np.rint(ratio * 2.0**shift), 0, 65535).astype(np.uint16), shift


def positive(values: np.ndarray) -> np.ndarray:
    """Ranges above 0: zeros, of what never occurs, become as large as the largest, or one."""
    largest = values.max(initial=0.0)
    return np.where(values > 0, values, largest if largest > 0 else 1.0)


def _equalized(ranges: np.ndarray, weights: np.ndarray, most: float) -> np.ndarray:
    """Ranges f[I] of inputs, widened where their products with the largest weights are small."""
    ranges = positive(ranges)
    reach = ranges * positive(weights)
    return ranges * np.minimum(reach.max() / reach, most)


def _by_column(
    kernel: np.ndarray, tables: Mapping[str, np.ndarray], steps: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The largest weight that each column of each table meets in the first kernel, f[E]."""
    largest, start, found = np.abs(kernel).max(axis=1), 0, {}
    for name, table in tables.items():
        stop = start + steps[name] * table.shape[1]
        found[name] = largest[start:stop].reshape(steps[name], -1).max(axis=0)
        start = stop
    return found


def _input_scale(scales: Mapping[str, np.ndarray], steps: Mapping[str, int]) -> np.ndarray:
    """Scales of all inputs of the first layer, f[I]."""
    return np.concatenate([np.tile(scale, steps[name]) for name, scale in scales.items()])


def _round(values: np.ndarray, scale: np.ndarray, limit: int) -> np.ndarray:
    """Floats f[N, E] in whole multiples of f[E] within the limit, i8[N, E]."""
    return np.clip(np.rint(values / scale[None]), -limit, limit).astype(np.int8)


def _byte_bias(bias: np.ndarray) -> tuple[np.ndarray, int]:
    """Biases as i8[O] times a power of two, the smallest that lets the largest fit.

    Half of 1/127 of the largest is far below what a threshold on logits can tell.
    """
    factor = 1
    while np.abs(np.rint(bias / factor)).max(initial=0) > 127:
        factor *= 2
    return np.rint(bias / factor).astype(np.int8), factor
