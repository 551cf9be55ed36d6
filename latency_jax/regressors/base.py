"""What every regressor (RM) can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np

from latency_jax.table import Table


class Regressor(ABC):
    """Predicts the latency of one module kind from the columns of a table.

    Life: `make_regressor(name, kind).fit(train, validation, seed)`, then `predict`; `save` and
    `load_regressor` for later. Whatever fits works on log seconds: relative errors count.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    @abstractmethod
    def fit(self, train: Table, validation: Table, seed: int) -> Self:
        """Learns from train; validation only says when to stop, or which of a few settings.

        The same tables and seed give the same predictions.
        """

    @abstractmethod
    def predict(self, table: Table) -> np.ndarray:
        """f64[N] positive seconds."""

    @abstractmethod
    def to_files(self) -> dict[str, bytes]:
        """All that `restore` needs: JSON and arrays, nothing that is run."""

    @abstractmethod
    def restore(self, files: Mapping[str, bytes]) -> Self:
        """Takes what `to_files` of the same name and kind gave. Raises ValueError otherwise."""

    @property
    def size_bytes(self) -> int:
        """Bytes that the fitted regressor takes in a file, compressed."""
        return sum(map(len, self.to_files().values()))


class NotFittedError(RuntimeError):
    """A regressor that was asked before `fit` or `restore`."""

    def __init__(self, regressor: Regressor) -> None:
        super().__init__(f"regressor {regressor.name!r} of {regressor.kind!r}: call fit first")
