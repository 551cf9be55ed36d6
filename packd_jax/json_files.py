"""Plain JSON values out of what programs hold, and JSON files that are never half written."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import jax
import numpy as np

from packd_jax.staged_file import write_text


def plain_json(value: Any, where: str = "value", finite: bool = False) -> Any:
    """The JSON value of nested mappings, sequences, scalars and NumPy or JAX arrays.

    With `finite`, NaN and infinities become None, as strict JSON has no word for them. Raises
    TypeError that names the place, like `meta.config.name`, for anything else.
    """
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        value = np.asarray(value).tolist()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) or not finite else None
    if hasattr(value, "items"):  # ml_collections.ConfigDict is no Mapping
        return {str(k): plain_json(v, f"{where}.{k}", finite) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(v, f"{where}[{i}]", finite) for i, v in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}; expected a mapping, list, text, number, boolean "
        "or None"
    )


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes strict, indented JSON (NaN and infinities as null) and renames it into place.

    Readers see the old file or the new one, also after a kill. Raises TypeError as plain_json.
    """
    text = json.dumps(plain_json(value, finite=True), indent=2, allow_nan=False) + "\n"
    write_text(path, text)
