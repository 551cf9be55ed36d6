"""From the equations of a traced model to its operations."""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from latency_jax.modules import get_kind
from latency_jax.whole_model.graph import Op, size_bytes
from latency_jax.whole_model.operations import ELEMENTWISE, FREE, UNKNOWN, KindValues, operation

SCOPE = "latency_jax_call_"  # with a number: the name scope of an intercepted call
_SCOPE_NUMBER = re.compile(SCOPE + r"(\d+)")
_PRODUCT_OPERATIONS = ("dot_general", "conv_general_dilated")
# Programs within a program that XLA dissolves.
_INLINED = (
    *("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("remat", "remat2", "checkpoint"),
)
# Functions of jax.nn that are programs of their own, by the activations that they are.
_FUNCTIONS = {
    **{name: name for name in ("relu", "relu6", "leaky_relu", "silu", "gelu", "hard_swish")},
    "hard_silu": "hard_swish",
}

# The value that a variable of a program is; None where it follows from weights alone.
Known = MutableMapping[Var, int | None]


class Call(NamedTuple):
    """What was intercepted of one call of a module."""

    path: str
    module: str
    kind: KindValues | None = None
    is_product: bool = False
    use_bias: bool = False

    @property
    def is_one(self) -> bool:
        """Whether it is timed as one, rather than looked into."""
        return self.kind is not None or self.is_product


class _Place(NamedTuple):
    """Where equations are."""

    calls: tuple[int, ...] = ()  # around them, the outermost first
    equation: int | None = None  # of the model's program; None: they are that program's own
    runs: int = 1


class Walk:
    """Goes through a program, call by call, and through the programs within it."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.ops: list[Op] = []
        self.size_bytes: list[int] = []  # of each value
        self._calls = calls

    def new_value(self, variable: Var) -> int:
        self.size_bytes.append(size_bytes(variable.aval))
        return len(self.size_bytes) - 1

    def run(self, jaxpr: Jaxpr, known: Known, place: _Place = _Place()) -> None:  # noqa: B008
        """Adds the operations of `jaxpr`, and to `known` what its variables are."""
        group: list[JaxprEqn] = []  # of one call
        number, first, last = -1, 0, 0
        for index, equation in enumerate(jaxpr.eqns):
            scope = str(equation.source_info.name_stack)
            calls = (*place.calls, *map(int, _SCOPE_NUMBER.findall(scope)))
            one = next((n for n in calls if self._calls[n].is_one), -1)
            if group and one != number:
                self._add_call(number, group, known, (first, last), place.runs)
                group = []
            at = index if place.equation is None else place.equation
            if one < 0:
                self._add_equation(equation, known, _Place(calls, at, place.runs))
                continue
            number, first, last = one, first if group else at, at
            group.append(equation)
        if group:
            self._add_call(number, group, known, (first, last), place.runs)

    def _add_call(
        self,
        number: int,
        equations: Sequence[JaxprEqn],
        known: Known,
        at: tuple[int, int],
        runs: int,
    ) -> None:
        call = self._calls[number]
        kind = call.kind
        if kind is None:
            kind = _product(equations, known) or KindValues(UNKNOWN, {})
            if call.use_bias and "use_bias" in kind.values:
                kind.values["use_bias"] = True
        self._add(call, "", kind, equations, known, at, runs)

    def _add_equation(self, equation: JaxprEqn, known: Known, place: _Place) -> None:
        is_static = [value_of(known, x) is None for x in equation.invars]
        name = equation.primitive.name
        function = _FUNCTIONS.get(equation.params.get("name", "")) if name in _INLINED else None
        if all(is_static):
            known.update((v, None) for v in equation.outvars)
        elif name == "scan":
            self._add_scan(equation, known, place)
        elif function is not None:
            self._add_operation(function, KindValues(ELEMENTWISE, {}), equation, known, place)
        elif name in _INLINED:
            jaxpr = _inner(equation)
            inside = _arguments(jaxpr, equation, known)
            self.run(jaxpr, inside, place)
            known.update((v, value_of(inside, x)) for v, x in zip(equation.outvars, jaxpr.outvars))
        else:
            self._add_operation(name, operation(equation, is_static), equation, known, place)

    def _add_scan(self, equation: JaxprEqn, known: Known, place: _Place) -> None:
        jaxpr = _inner(equation)
        inside = _arguments(jaxpr, equation, known)
        constants, carried = _scan_sizes(equation)
        for variable in jaxpr.invars[constants : constants + carried]:
            if inside[variable] is None:  # constant at the start only
                inside[variable] = self.new_value(variable)
        self.run(jaxpr, inside, place._replace(runs=place.runs * equation.params["length"]))
        made = distinct(value_of(inside, v) for v in jaxpr.outvars)
        self._add_operation("scan", KindValues(FREE, {}), equation, known, place, made)

    def _add_operation(
        self,
        name: str,
        kind: KindValues,
        equation: JaxprEqn,
        known: Known,
        place: _Place,
        inputs: tuple[int, ...] = (),
    ) -> None:
        assert place.equation is not None  # as `run` gives it
        call = self._calls[place.calls[-1]] if place.calls else Call("", "")
        at = (place.equation, place.equation)
        self._add(call, name, kind, [equation], known, at, place.runs, inputs)

    def _add(
        self,
        call: Call,
        name: str,
        kind: KindValues,
        equations: Sequence[JaxprEqn],
        known: Known,
        at: tuple[int, int],
        runs: int,
        inputs: tuple[int, ...] = (),
    ) -> None:
        made = dict.fromkeys(v for equation in equations for v in equation.outvars)
        operands = [x for equation in equations for x in equation.invars]
        read = dict.fromkeys(x for x in operands if not isinstance(x, Literal) and x not in made)
        inputs = distinct((*inputs, *(known[v] for v in read)))
        known.update((v, self.new_value(v)) for v in made)
        outputs = distinct(known[v] for v in made)
        flops, moved = _cost(kind, [v.aval for v in (*read, *equations[-1].outvars)])
        self.ops.append(Op(*call[:2], name, *kind, flops, moved, inputs, outputs, at, runs))


def value_of(known: Known, x: Var | Literal) -> int | None:
    """None for what follows from weights alone."""
    return None if isinstance(x, Literal) else known[x]


def distinct(values: Iterable[int | None]) -> tuple[int, ...]:
    """Values in their order, each once."""
    return tuple(dict.fromkeys(v for v in values if v is not None))


def _product(equations: Iterable[JaxprEqn], known: Known) -> KindValues | None:
    """The first product or convolution among equations, and in the programs within them."""
    inside: Known = ChainMap({}, known)
    for equation in equations:
        is_static = [value_of(inside, x) is None for x in equation.invars]
        if equation.primitive.name in _PRODUCT_OPERATIONS:
            return operation(equation, is_static)
        if equation.primitive.name in _INLINED:
            jaxpr = _inner(equation)
            found = _product(jaxpr.eqns, _arguments(jaxpr, equation, inside))
            if found is not None:
                return found
        inside.update((v, None if all(is_static) else -1) for v in equation.outvars)
    return None


def _cost(kind: KindValues, arrays: Sequence[Any]) -> tuple[float, float]:
    """(FLOPs, bytes); without a kind one FLOP for each element of the largest operand."""
    if kind.kind == FREE:
        return 0.0, 0.0
    if kind.kind in (ELEMENTWISE, UNKNOWN):
        elements = max(math.prod(x.shape) for x in arrays)
        return float(elements), float(sum(map(size_bytes, arrays)))
    cost = get_kind(kind.kind).cost(kind.values)
    return cost.flops, cost.bytes


def _inner(equation: JaxprEqn) -> Jaxpr:
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    jaxpr = next(equation.params[name] for name in names if name in equation.params)
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def _scan_sizes(equation: JaxprEqn) -> tuple[int, int]:
    """How many operands of a scan are constants, and how many are carried."""
    if "num_consts" in equation.params:
        return equation.params["num_consts"], equation.params["num_carry"]
    constants, carried, _ = equation.params["ft_in"].unpack()  # JAX 0.12
    return len(constants), len(carried)


def _arguments(jaxpr: Jaxpr, equation: JaxprEqn, known: Known) -> Known:
    inside: Known = dict.fromkeys(jaxpr.constvars)
    inside.update((v, value_of(known, x)) for v, x in zip(jaxpr.invars, equation.invars))
    return inside
