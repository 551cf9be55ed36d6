"""What to measure for one model: the kinds that it consists of, in the ranges that it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from latency_jax.modules import get_kind, kinds
from latency_jax.parameters import CONDITIONS, Parameter, Value
from latency_jax.whole_model.fusion import fused_calls, with_softmax
from latency_jax.whole_model.graph import Graph

_BEYOND = 2  # times what the model has, up and down


def neighbourhood(graph: Graph) -> dict[str, dict[str, str]]:
    """By kind, what to draw for every parameter: customizations of a CollectConfig.

    Sizes are drawn from half the least to twice the largest that a call has, so that regressors
    see them vary also where there is one call; everything else is what the calls have. Calls are
    those of the model as XLA fuses it and one by one.
    """
    found: dict[str, list[Mapping[str, Value]]] = defaultdict(list)
    for fused in fused_calls(graph):
        found[fused.kind].append(fused.values)
    for op in with_softmax(graph.ops):
        found[op.kind].append(op.values)
    return {kind: _specs(kind, found[kind]) for kind in kinds() if kind in found}


def _specs(kind: str, calls: Sequence[Mapping[str, Value]]) -> dict[str, str]:
    parameters = (*get_kind(kind).parameters, *CONDITIONS)
    values = {p: dict.fromkeys(call.get(p.name, p.default) for call in calls) for p in parameters}
    return {p.name: _spec(p, list(values[p])) for p in parameters}


def _spec(parameter: Parameter, values: list[Value]) -> str:
    if parameter.choices or parameter in CONDITIONS:
        return ",".join(map(str, values))
    sizes = [int(value) for value in values]
    low, high = (int(bound or 0) for bound in (parameter.low, parameter.high))
    return f"{max(min(sizes) // _BEYOND, low)}:{min(max(sizes) * _BEYOND, high)}"
