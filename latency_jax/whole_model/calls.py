"""Which module kind a call of a linen module is timed as, with the values of its parameters.

A module of your own that a kind describes, registered or not by you, is made known by

>>> from latency_jax.whole_model.calls import KindValues, register_call
>>> class RMSNorm(nn.Module): ...
>>> def as_layer_norm(module, inputs, output):
...     return KindValues("layer_norm", {"batch_size": output.shape[0], ...})
>>> register_call(RMSNorm, as_layer_norm)

Modules that are not known are looked into: at the modules that they call, and at the operations
between these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn

from latency_jax.parameters import Value
from latency_jax.whole_model.operations import KindValues, dtype_name, split_rows

# (bound module, array arguments in their order, output) to a kind, or None: look into it.
ToKind = Callable[[Any, Sequence[Any], Any], KindValues | None]

# One product or convolution and a bias: what the equation says, whatever the module is called.
PRODUCTS = (nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Conv, nn.ConvTranspose)

_TO_KIND: dict[type[nn.Module], ToKind] = {}


def register_call(module_type: type[nn.Module], to_kind: ToKind) -> None:
    """Times calls of a linen class, and of classes derived from it, as `to_kind` says.

    Where it gives None the module is looked into. A later registration of a class replaces an
    earlier one.
    """
    _TO_KIND[module_type] = to_kind


def call_kind(module: nn.Module, inputs: Sequence[Any], output: Any) -> KindValues | None:
    """The kind that a call of the bound module is timed as; None where it is looked into."""
    for base in type(module).__mro__:
        if base in _TO_KIND:
            return _TO_KIND[base](module, inputs, output)
    return None


def _rows(array: Any) -> dict[str, Value]:
    """`[batch_size, ..., features]`."""
    rows = split_rows(math.prod(array.shape[:-1]), array.shape)
    return {**rows, "features": array.shape[-1], "dtype": dtype_name(array)}


def _norm(kind: str) -> ToKind:
    return lambda module, inputs, output: KindValues(kind, _rows(output))


def _embedding(module: nn.Embed, inputs: Sequence[Any], output: Any) -> KindValues:
    rows = _rows(output)
    tokens = {"tokens": rows.pop("positions"), "vocabulary": module.num_embeddings}
    return KindValues("embedding", {**rows, **tokens})


def _attention(
    module: nn.MultiHeadDotProductAttention, inputs: Sequence[Any], output: Any
) -> KindValues | None:
    """Self-attention over one sequence whose heads share its features; masks cost nothing."""
    query, *others = inputs
    features = query.shape[-1]
    sizes = {module.qkv_features or features, module.out_features or features}
    sequences = [x for x in others if x.ndim == query.ndim and x.shape[-1] == features]
    if sizes != {features} or query.ndim != 3 or any(x.shape != query.shape for x in sequences):
        return None
    values = {"heads": module.num_heads, "tokens": query.shape[1], "features": features}
    return KindValues(
        "multi_head_attention",
        {"batch_size": query.shape[0], "dtype": dtype_name(output), **values},
    )


def _recurrence(module: nn.RNN, inputs: Sequence[Any], output: Any) -> KindValues | None:
    """LSTM layers over `[batch_size, tokens, features]`."""
    is_lstm = isinstance(module.cell, (nn.LSTMCell, nn.OptimizedLSTMCell))
    if not is_lstm or module.time_major or inputs[0].ndim != 3:
        return None
    batch_size, tokens, in_features = inputs[0].shape
    features = module.cell.features
    values = {"batch_size": batch_size, "tokens": tokens, "in_features": in_features}
    return KindValues("lstm", {**values, "features": features, "dtype": dtype_name(inputs[0])})


register_call(nn.BatchNorm, _norm("batch_norm"))
for _layer in (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm):
    register_call(_layer, _norm("layer_norm"))
register_call(nn.Embed, _embedding)
register_call(nn.MultiHeadDotProductAttention, _attention)
register_call(nn.RNN, _recurrence)
