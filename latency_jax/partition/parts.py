"""Where a captured model can be cut in two, and the pieces that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from latency_jax.whole_model.fusion import FusedCall
from latency_jax.whole_model.graph import Graph


class Parts(NamedTuple):
    """A model as N parts that run one after the other."""

    calls: tuple[range, ...]  # of each part, as positions among the fused calls
    names: tuple[str, ...]  # of the first call of each
    equations: tuple[int, ...]  # N + 1, of the program: where each part begins, and its end
    cut_bytes: np.ndarray  # i64[N + 1], what crosses a cut there

    def sums(self, latency_s: np.ndarray) -> np.ndarray:
        """f64[N] of latencies f64[C] of the calls."""
        return np.array([latency_s[list(calls)].sum() for calls in self.calls])


def parts_of(graph: Graph, calls: Sequence[FusedCall]) -> Parts:
    """Cuts between calls: what is one program within the model's (loops, remat) stays whole.

    Of the equations between two calls a cut is where the fewest bytes cross.
    """
    crossing = graph.crossing_bytes()
    end = len(graph.program.jaxpr.eqns)
    starts, equations = [0], [0]
    reached = -1
    for i, call in enumerate(calls):
        first = call.equations[0]
        if i and first > reached:
            # The last of equal ones: element-wise operations stay with what they follow.
            between = np.arange(first, reached, -1)
            equations.append(int(between[crossing[between].argmin()]))
            starts.append(i)
        reached = max(reached, call.equations[1])
    spans = tuple(range(a, b) for a, b in zip(starts, [*starts[1:], len(calls)]))
    equations.append(end)
    names = tuple(calls[span[0]].name for span in spans)
    return Parts(spans, names, tuple(equations), crossing[equations])


@dataclass(frozen=True)
class Segment:
    """The equations `start:stop` of a model's program, called and timed like a linen module.

    Its inputs are the values that cross the cut before `start`, and its outputs those that cross
    the one before `stop`, or the model's outputs at the end.
    """

    graph: Graph
    start: int
    stop: int

    @property
    def inputs(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in self._read())

    def init(self, key: jax.Array, *inputs: jax.Array) -> Any:
        """Zeros for the variables of the model that it reads, and None in place of the others."""
        leaves, structure = jax.tree.flatten(self.graph.variables)
        weights = self.graph.program.jaxpr.invars[: len(leaves)]
        made = self._made()
        needed = self._needed(made, {*weights, *self._read()})
        operands = (x for equation in needed for x in equation.invars)
        read = {x for x in (*made, *operands) if not isinstance(x, Literal)}
        zeros = [
            jnp.zeros(leaf.shape, leaf.dtype) if weight in read else None
            for leaf, weight in zip(leaves, weights)
        ]
        return jax.tree.unflatten(structure, zeros)

    def init_with_output(self, key: jax.Array, *inputs: jax.Array) -> tuple[Any, Any]:
        variables = self.init(key, *inputs)
        return self.apply(variables, *inputs), variables

    def apply(self, variables: Any, *inputs: jax.Array) -> tuple[jax.Array, ...]:
        """The outputs for variables of the whole model, or those of `init`."""
        program = self.graph.program
        structure: Any = jax.tree.structure(self.graph.variables)
        weights = structure.flatten_up_to(variables)  # None where there is none
        known: dict[Var, Any] = dict(zip(program.jaxpr.constvars, program.consts))
        known.update((v, w) for v, w in zip(program.jaxpr.invars, weights) if w is not None)
        known.update(zip(self._read(), inputs))
        made = self._made()
        for equation in self._needed(made, known.keys()):
            operands = [_valued(known, x) for x in equation.invars]
            bound = equation.primitive.get_bind_params(equation.params)
            # JAX before 0.9 gave functions beside the parameters.
            functions, parameters = bound if isinstance(bound, tuple) else ((), bound)
            results = equation.primitive.bind(*functions, *operands, **parameters)
            is_many = equation.primitive.multiple_results
            known.update(zip(equation.outvars, results if is_many else [results]))
        return tuple(_valued(known, v) for v in made)

    def _read(self) -> list[Any]:
        return self._variables(self.graph.crossing(self.start))

    def _made(self) -> list[Any]:
        if self.stop == len(self.graph.program.jaxpr.eqns):
            return list(self.graph.program.jaxpr.outvars)
        return self._variables(self.graph.crossing(self.stop))

    def _variables(self, values: Sequence[int]) -> list[Any]:
        first: dict[int | None, Var] = {}
        for variable, value in self.graph.names.items():
            first.setdefault(value, variable)
        return [first[value] for value in values]

    def _needed(self, made: Sequence[Any], known: Set[Var]) -> list[JaxprEqn]:
        """Equations that lead from what is known to what is made, in their order.

        Some may lie before `start`: what follows from weights alone is computed on every device.
        """
        wanted = {v for v in made if not isinstance(v, Literal)} - known
        needed = []
        for equation in reversed(self.graph.program.jaxpr.eqns[: self.stop]):
            if wanted.isdisjoint(equation.outvars):
                continue
            needed.append(equation)
            wanted -= set(equation.outvars)
            wanted |= {x for x in equation.invars if not isinstance(x, Literal)} - known
        return needed[::-1]


def segments(graph: Graph, bounds: Sequence[int], parts: Parts) -> tuple[Segment, ...]:
    """The pieces of a plan's bounds, of each device that runs any parts."""
    cuts = [parts.equations[bound] for bound in bounds]
    return tuple(Segment(graph, a, b) for a, b in pairwise(cuts) if a < b)


def _valued(known: Mapping[Var, Any], x: Any) -> Any:
    return x.val if isinstance(x, Literal) else known[x]
