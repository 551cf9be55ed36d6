"""What the columns of a table are: numbers or categories, there or missing."""

from __future__ import annotations

import numpy as np

from latency_jax.devices import NAME
from latency_jax.modules import get_kind
from latency_jax.parameters import CONDITIONS
from latency_jax.table import Table, TableError

GENERIC = "generic"  # the kind of tables whose columns mean nothing to us


def text_columns(table: Table) -> list[str]:
    """Columns that are categories: text, and numbers where the kind has a text (codes).

    Names of devices are none: what a device is called says nothing of any other.
    """
    named = set()
    if table.kind != GENERIC:
        parameters = (*get_kind(table.kind).parameters, *CONDITIONS)
        named = {p.name for p in parameters if isinstance(p.default, str)}
    return [
        name
        for name, column in table.columns.items()
        if name != NAME and (name in named or column.dtype.kind == "U")
    ]


def number_columns(table: Table) -> tuple[str, ...]:
    """The others."""
    texts = {NAME, *text_columns(table)}
    return tuple(name for name in table.columns if name not in texts)


def needed_column(table: Table, name: str) -> np.ndarray:
    """A column that was there in training. Raises TableError where it is not any more."""
    if name not in table.columns:
        raise TableError(f"no column {name!r}: expected {', '.join(table.columns)} and {name}")
    return table.columns[name]
