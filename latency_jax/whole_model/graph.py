"""A model as it is run: operations, and the values that flow between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Var

from latency_jax.parameters import Value


class Op(NamedTuple):
    """A module call that is timed as one, or an operation between such calls."""

    path: str  # of the module, like "stage_0/Conv_1"; "" for the model itself
    module: str  # its class
    operation: str  # name of the operation; "" for a module call
    kind: str  # a module kind; or ELEMENTWISE, FREE, UNKNOWN of latency_jax.whole_model.operations
    values: Mapping[str, Value]  # of the kind
    flops: float  # of one run
    bytes: float  # read and written by one run
    inputs: tuple[int, ...]  # values; what follows from weights alone is none
    outputs: tuple[int, ...]
    equations: tuple[int, int]  # first and last, of the model's program
    runs: int  # the lengths of the loops around it, multiplied

    @property
    def name(self) -> str:
        """Where it is and what it is, like "block_1/Dense_0" or "block_1/add"."""
        return "/".join(part for part in (self.path, self.operation) if part) or self.module


@dataclass(frozen=True)
class Graph:
    """Operations in the order in which they run, each of which reads and makes values."""

    ops: tuple[Op, ...]
    size_bytes: tuple[int, ...]  # of each value
    inputs: tuple[int, ...]  # values that the caller gives
    outputs: tuple[int, ...]
    variables: Any  # shapes
    program: ClosedJaxpr  # (*variables, *inputs) -> outputs
    names: Mapping[Var, int | None]  # the values that its variables are

    @property
    def flops(self) -> float:
        """FLOPs of one call of the model, counted by hand."""
        return sum(op.runs * op.flops for op in self.ops)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all variables."""
        return sum(map(size_bytes, jax.tree.leaves(self.variables)))

    def crossing(self, equation: int) -> tuple[int, ...]:
        """Values that are there before an equation of the program and are read by it or later.

        Outputs of the model count as read only where an operation reads them.
        """
        lives = self._lives()
        return tuple(v for v, (made, read) in lives.items() if made < equation <= read)

    def crossing_bytes(self) -> np.ndarray:
        """Bytes of what crosses each of E + 1 cuts, before equations 0 to E - 1 and at the end."""
        steps = np.zeros(len(self.program.jaxpr.eqns) + 2, np.int64)
        for value, (made, read) in self._lives().items():
            if made < read:
                steps[made + 1] += self.size_bytes[value]
                steps[read + 1] -= self.size_bytes[value]
        return np.cumsum(steps)[:-1]

    def _lives(self) -> dict[int, tuple[int, int]]:
        """The equations that make a value and that read it last; -1 where there is none."""
        made = dict.fromkeys(self.inputs, -1)
        made.update((v, op.equations[1]) for op in self.ops for v in op.outputs)
        read: dict[int, int] = {}
        for op in self.ops:
            read.update((v, max(read.get(v, -1), op.equations[1])) for v in op.inputs)
        return {v: (at, read.get(v, -1)) for v, at in made.items()}


def size_bytes(array: Any) -> int:
    """Of an array, of its shape and dtype, or of an abstract value."""
    return math.prod(array.shape) * array.dtype.itemsize
