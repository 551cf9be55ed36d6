"""The arithmetic that costs share; everything takes and gives NumPy arrays of any one shape.

One configuration is counted with NumPy scalars, whose arithmetic is several times as fast as that
of arrays of no shape, so nothing here makes such an array out of scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latency_jax.parameters import ParameterError

TRANSCENDENTAL = 8  # FLOPs that an exponential, a logarithm or a root is counted as
SOFTMAX = 4 + TRANSCENDENTAL  # maximum, difference, exponential, sum, quotient
LAYER_NORM = 8  # per element: mean, variance of the difference, scale, offset

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
_PADDINGS = {"SAME": 1, "VALID": 0, "same": 1, "valid": 0}
_FEW = 6  # texts that a column is compared with one by one
_SWITCHES = {"True": 1, "False": 0, "true": 1, "false": 0, "TRUE": 1, "FALSE": 0}


def item_bytes(dtype: np.ndarray) -> np.ndarray:
    """Bytes of one number; `dtype` holds names. Raises ParameterError for an unknown one."""
    return looked_up("dtype", dtype, ITEM_BYTES)


def is_same(padding: np.ndarray) -> np.ndarray:
    """Whether padding keeps the size: "SAME", or any number but 0."""
    if padding.dtype.kind == "U":
        return looked_up("padding", padding, _PADDINGS) == 1
    return padding != 0


def is_on(switch: np.ndarray) -> np.ndarray:
    """1 where a boolean parameter is on, else 0; columns of text say True or False."""
    if switch.dtype.kind == "U":
        return looked_up("switch", switch, _SWITCHES)
    return (switch != 0) * 1.0


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`np.where`, which makes an array of scalars."""
    if isinstance(condition, np.bool_):
        return yes if condition else no
    return np.where(condition, yes, no)


def window(kernel_size: np.ndarray, dilation: np.ndarray) -> np.ndarray:
    """Positions that a dilated kernel spans along one axis."""
    return (kernel_size - 1) * dilation + 1


def output_size(values: Mapping[str, Any]) -> Any:
    """Positions along one spatial axis after a convolution or a pool, 1 at least."""
    spanned = window(values["kernel_size"], values.get("dilation", np.float64(1.0)))
    size, stride = values["input_size"], values["stride"]
    valid = np.floor((size - spanned) / stride) + 1
    return where(is_same(values["padding"]), np.ceil(size / stride), np.maximum(valid, 1))


def looked_up(name: str, texts: np.ndarray, table: Mapping[str, float]) -> Any:
    """What `table` has for each text. Raises ParameterError for one that it has not."""
    if texts.ndim and len(table) <= _FEW:
        values = np.full(texts.shape, np.nan)
        for text, value in table.items():
            values[texts == text] = value
        if not np.isnan(values).any():
            return values
    try:
        if texts.ndim == 0:
            return np.float64(table[texts.item()])
        found = [table[text] for text in texts.ravel().tolist()]
    except KeyError as error:
        raise ParameterError(name, error.args[0], f"one of {tuple(table)}") from None
    return np.array(found, np.float64).reshape(texts.shape)
