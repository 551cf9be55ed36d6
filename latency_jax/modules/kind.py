"""What a module kind is: how it is built, what it costs, and which of its values go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from latency_jax.parameters import CONDITIONS, Parameter, ParameterError, check_known, plain_value

MAX_WORK = 1.25e9  # of a configuration that is drawn: about 30 ms of two slow CPU cores


class Built(NamedTuple):
    """A linen module, called as `module.apply(variables, *inputs)`, and what its inputs are."""

    module: nn.Module
    inputs: tuple[jax.ShapeDtypeStruct, ...]  # batch first, channels last


class Cost(NamedTuple):
    """What a call computes and touches, counted by hand: numbers, or arrays f64[N].

    A multiply-add is two FLOPs. Bytes are those of arguments and results, each once; what lies
    between the parts of a module is not counted.
    """

    flops: Any
    input_bytes: Any
    weight_bytes: Any
    output_bytes: Any

    @property
    def bytes(self) -> Any:
        """Bytes of inputs, weights and outputs together."""
        return self.input_bytes + self.weight_bytes + self.output_bytes

    @property
    def intensity(self) -> Any:
        """FLOPs per byte."""
        return self.flops / self.bytes


@dataclass(frozen=True)
class ModuleKind:
    """One kind of module; `latency_jax.modules` shows how to write one.

    `make` and `count` get every parameter of the kind and every condition, by name: `make` as
    Python values, `count` as NumPy arrays (numbers as f64, text as str) of one shape or of
    none, so that plain arithmetic serves single configurations and whole tables alike.
    `constraint` gets what `make` gets. `work` gets what `count` gets and says how many FLOPs of
    a large matrix product take about as long on a CPU; without it, as many as are counted.
    """

    name: str
    parameters: tuple[Parameter, ...]
    make: Callable[[Mapping[str, Any]], Built]
    count: Callable[[Mapping[str, Any]], Cost]
    constraint: Callable[[Mapping[str, Any]], bool] = lambda values: True
    work: Callable[[Mapping[str, Any]], Any] | None = None
    max_bytes: float = 32e6  # of a configuration that is drawn

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in (*self.parameters, *CONDITIONS)]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(
                    f"kind {self.name!r}: parameter", name, "a name of its own, no condition's"
                )

    def build(self, values: Mapping[str, Any]) -> Built:
        """The module and its inputs; names that are left out have their defaults.

        Raises ParameterError for an unknown name, a value out of its parameter's range, and
        values that do not go together.
        """
        known = {parameter.name: parameter for parameter in (*self.parameters, *CONDITIONS)}
        for name, value in values.items():
            check_known(name, known, f"kind {self.name!r}: parameter")
            if not known[name].contains(value):
                raise ParameterError(f"{self.name}.{name}", value, known[name].expected)
        complete = self._complete(values)
        if not self.constraint(complete):
            raise ParameterError(
                self.name, dict(values), "values that go together, as the kind's constraint says"
            )
        return self.make(complete)

    def cost(self, values: Mapping[str, Any]) -> Cost:
        """FLOPs and bytes of one configuration, or of each row of a table f64[N].

        Names that are left out have their defaults, so a table need not have every column, and
        names that the kind does not know are ignored. Numbers where text is usual are read as
        datasets write them: padding 0 is VALID and 1 is SAME; activation 0 is none. Raises
        ParameterError for columns of different lengths and for text that is no number.
        """
        columns, shape = self._columns(values)
        return Cost(*_shaped(self.count(columns), shape))

    def cpu_work(self, values: Mapping[str, Any]) -> Any:
        """How many FLOPs of a large matrix product take about as long on a CPU, as `cost`."""
        columns, shape = self._columns(values)
        work = self.count(columns).flops if self.work is None else self.work(columns)
        return _shaped([work], shape)[0]

    def amounts(self, values: Mapping[str, Any]) -> list[Any]:
        """FLOPs, bytes of inputs, of weights and of outputs, and CPU work, as `cost`."""
        columns, shape = self._columns(values)
        cost = self.count(columns)
        work = cost.flops if self.work is None else self.work(columns)
        return _shaped([*cost, work], shape)

    def is_valid(self, values: Mapping[str, Any], size_limit: float = 1.0) -> bool:
        """Whether one configuration can be built and is small enough to be measured.

        Its work and its bytes must not exceed MAX_WORK and `max_bytes` times `size_limit`.
        """
        complete = self._complete(values)
        if not self.constraint(complete):
            return False
        work, cost_bytes = self.size(complete)
        return work <= MAX_WORK * size_limit and cost_bytes <= self.max_bytes * size_limit

    def size(self, values: Mapping[str, Any]) -> tuple[float, float]:
        """Work and bytes of one configuration, every value given."""
        slowdown = 4 if values["dtype"] == "bfloat16" else 1  # CPUs convert it to and fro
        _, *moved, work = self.amounts(values)
        return slowdown * work, sum(moved)

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        parameters = (*self.parameters, *CONDITIONS)
        return {p.name: plain_value(values.get(p.name, p.default)) for p in parameters}

    def _columns(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """(columns, their shape). Numbers are f64, text is str: arrays, or scalars of one row."""
        given = {n: self._column(n, values[n]) for n in self._defaults if n in values}
        columns = {**self._defaults, **given}
        shape = self._shape(columns)
        if shape == (1,):  # scalars are several times as fast as arrays of one number
            columns = {n: column[0] if column.shape else column for n, column in columns.items()}
        return columns, shape

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {p.name: self._column(p.name, p.default) for p in (*self.parameters, *CONDITIONS)}

    @cached_property
    def _texts(self) -> frozenset[str]:
        """Names of what may be text; switches too, as datasets write True and False."""
        parameters = (*self.parameters, *CONDITIONS)
        return frozenset(p.name for p in parameters if isinstance(p.default, (str, bool)))

    def _column(self, name: str, values: Any) -> Any:
        if isinstance(values, np.float64):
            return values
        column = np.asarray(values)
        if column.dtype.kind == "O":
            column = np.array(column.tolist())  # of one type, unless the values are mixed
        if column.dtype.kind in "biuf":
            return column.astype(np.float64, copy=False)[()]
        if column.dtype.kind == "U" and name in self._texts:
            return column[()]
        raise ParameterError(f"{self.name}.{name}", values, "numbers")

    def _shape(self, columns: Mapping[str, Any]) -> tuple[int, ...]:
        shapes = {column.shape for column in columns.values() if column.shape}
        if len(shapes) < 2:
            return shapes.pop() if shapes else ()
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            found = {name: column.shape for name, column in columns.items()}
            raise ParameterError(self.name, found, "columns of one length") from None


def _shaped(amounts: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """Floats for no shape, else f64 arrays of it."""
    if shape == ():
        return [float(amount) for amount in amounts]
    arrays = [np.asarray(amount, np.float64) for amount in amounts]
    rows = math.prod(shape)
    return [a.reshape(shape) if a.size == rows else np.full(shape, a) for a in arrays]


def shape(values: Mapping[str, Any], *lengths: Any, dtype: str = "") -> jax.ShapeDtypeStruct:
    """An input of these lengths, of the dtype that `values` names unless another is given."""
    return jax.ShapeDtypeStruct(tuple(int(n) for n in lengths), dtype or values["dtype"])
