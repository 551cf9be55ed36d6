"""Arrays as C constants."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

import numpy as np


def constant_array(names: Mapping[str, str], suffix: str, values: np.ndarray) -> str:
    """A constant array of one or two dimensions of integers, in lines of at most 100 columns.

    It is called `$p_suffix`; `names` holds the prefix `p` of all names, and `P`, the same in
    capitals.
    """
    ctype = f"{'u' if values.dtype.kind == 'u' else ''}int{8 * values.dtype.itemsize}_t"
    shape = "".join(f"[{size}]" for size in values.shape)
    head = f"{names['P']}_ALIGNED static const {ctype} {names['p']}_{suffix}{shape} = {{"
    if values.ndim == 1:
        return f"\n{head}\n{_wrapped(_literals(values))}\n}};\n"
    rows = [_wrapped([f"{{{', '.join(_literals(row))}}}"]) for row in values]
    return f"\n{head}\n" + ",\n".join(rows) + "\n};\n"


def _literals(values: np.ndarray) -> list[str]:
    suffix = {4: "UINT32_C(%d)", 8: "UINT64_C(%d)"}
    form = suffix.get(values.dtype.itemsize, "%d") if values.dtype.kind == "u" else "%d"
    return [form % int(value) for value in values]


def _wrapped(parts: Iterable[str]) -> str:
    return textwrap.fill(", ".join(parts), 100, initial_indent="  ", subsequent_indent="  ")
