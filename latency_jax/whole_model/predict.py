"""The latency of a whole linen model from those of its parts.

>>> graph = capture(module, (jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"),))
>>> predicted = predict_model(LatencyModel.load("latency_model.zip"), graph)
>>> predicted.latency_s, predicted.low_s, predicted.high_s, predicted.naive_s
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from latency_jax.modules import get_kind
from latency_jax.parameters import CONDITIONS, ParameterError, Value, check_known
from latency_jax.whole_model.correction import Correction, call_terms
from latency_jax.whole_model.fallback import columns_of, roofline_of
from latency_jax.whole_model.fusion import FusedCall, fused_calls, with_softmax
from latency_jax.whole_model.graph import Graph
from latency_jax.whole_model.operations import ELEMENTWISE, FREE, UNKNOWN

_NAMED = 3  # calls that a warning names of each kind


class Predictor(Protocol):
    """What a LatencyModel can do; see latency_jax.latency_model."""

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def correction(self) -> Mapping[str, Any] | None: ...

    def predict(self, kind: str, columns: Mapping[str, np.ndarray]) -> Any: ...


class CallLatency(NamedTuple):
    """A call with all its runs. The latencies of a model's calls add up to that of the model."""

    call: FusedCall
    latency_s: float
    low_s: float
    high_s: float
    in_domain: bool  # whether the latency model knows such calls; else the interval is a guess


@dataclass(frozen=True)
class ModelLatency:
    """What one call of a model takes."""

    latency_s: float
    low_s: float
    high_s: float
    naive_s: float  # its modules in isolation, added up: nothing fused, nothing between them
    calls: tuple[CallLatency, ...]  # in the order in which they run
    warnings: tuple[str, ...]  # for the user to read


class _Rows(NamedTuple):
    """Seconds f64[N] of N calls, with all their runs."""

    latency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    in_domain: np.ndarray  # bool[N]


def predict_model(
    model: Predictor,
    graph: Graph,
    conditions: Mapping[str, Value] | None = None,
    kinds: Collection[str] | None = None,
) -> ModelLatency:
    """Predicts one call of a captured model, fused as XLA fuses it.

    `conditions` such as `{"cpu_utilization": 0.5}` hold for all of it; batch size and dtype are
    those that each call was captured with. With `model.correction` the interval is that of whole
    models; without one it is the sum of the calls' intervals, as if all erred the same way.
    What the latency model does not know is predicted by a roofline with its rates, and named in
    `warnings`. `kinds`, by default those of the model, are what composites may be of. Raises
    ParameterError for conditions that are none or out of range.
    """
    conditions = _checked(conditions or {})
    calls = fused_calls(graph, model.kinds if kinds is None else kinds)
    rows, notes = _predict(model, calls, conditions)
    naive = [op for op in with_softmax(graph.ops) if op.kind not in (ELEMENTWISE, FREE)]
    naive_s = float(_predict(model, naive, conditions)[0].latency.sum())
    if model.correction is not None:
        correction = Correction.from_json(model.correction)
        corrected = correction.apply(call_terms(calls, rows.latency))
        factor = corrected / rows.latency
        rows = _Rows(corrected, rows.low * factor, rows.high * factor, rows.in_domain)
        low, high = correction.interval.bounds(rows.latency.sum(keepdims=True))
        low_s, high_s = float(low[0]), float(high[0])
    else:
        low_s, high_s = float(rows.low.sum()), float(rows.high.sum())
        notes = (*notes, "no correction for whole models is fitted: fused calls are added up")
    latencies = tuple(CallLatency(call, *row) for call, row in zip(calls, zip(*_plain(rows))))
    return ModelLatency(float(rows.latency.sum()), low_s, high_s, naive_s, latencies, notes)


def model_terms(
    model: Predictor, graph: Graph, conditions: Mapping[str, Value] | None = None
) -> np.ndarray:
    """What a correction is fitted to, f64[C, 4] of C calls: see whole_model/correction.py."""
    calls = fused_calls(graph, model.kinds)
    rows, _ = _predict(model, calls, _checked(conditions or {}))
    return call_terms(calls, rows.latency)


def _checked(conditions: Mapping[str, Value]) -> dict[str, Value]:
    known = {c.name: c for c in CONDITIONS if c.name not in ("batch_size", "dtype")}
    for name, value in conditions.items():
        check_known(name, known, "condition")
        if not known[name].contains(value):
            raise ParameterError(name, value, known[name].expected)
    return {name: conditions.get(name, c.default) for name, c in known.items()}


def _predict(
    model: Predictor, calls: Sequence[Any], conditions: Mapping[str, Value]
) -> tuple[_Rows, tuple[str, ...]]:
    """Predicts calls (or unfused operations), each kind at once."""
    n = len(calls)
    rows = _Rows(np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool))
    of_kind: dict[str, list[int]] = defaultdict(list)
    for i, call in enumerate(calls):
        of_kind[call.kind].append(i)
    unknown = {kind: i for kind, i in of_kind.items() if kind not in model.kinds}
    notes = []
    for kind, found in of_kind.items():
        if kind in unknown:
            continue
        prediction = model.predict(kind, _columns(kind, [calls[i] for i in found], conditions))
        for part, values in zip(rows, prediction):
            part[found] = values
        if not rows.in_domain[found].all():
            outside = _names(calls[i].name for i in found if not rows.in_domain[i])
            notes.append(f"kind {kind!r}: beyond what the latency model was trained on: {outside}")
    if unknown:
        roofline = roofline_of(model, conditions)
        for kind, found in unknown.items():
            flops, moved = (
                np.array([getattr(calls[i], field) for i in found]) for field in ("flops", "bytes")
            )
            seconds = roofline.seconds(flops, moved)
            rows.latency[found] = seconds
            rows.low[found], rows.high[found] = seconds * roofline.low, seconds * roofline.high
            rows.in_domain[found] = False
            notes.append(_unknown_note(kind, [calls[i] for i in found]))
    runs = np.array([call.runs for call in calls], np.float64)
    all_runs = _Rows(rows.latency * runs, rows.low * runs, rows.high * runs, rows.in_domain)
    return all_runs, tuple(notes)


def _columns(
    kind: str, calls: Sequence[Any], conditions: Mapping[str, Value]
) -> dict[str, np.ndarray]:
    defaults = {p.name: p.default for p in (*get_kind(kind).parameters, *CONDITIONS)}
    return columns_of([{**defaults, **call.values} for call in calls], conditions)


def _unknown_note(kind: str, calls: Sequence[Any]) -> str:
    if kind != UNKNOWN:
        names = _names(call.name for call in calls)
        return f"kind {kind!r}: not in the latency model, a roofline stands in for {names}"
    names = _names(f"{call.name} of {call.module}" for call in calls)
    return (
        f"no module kind describes {names}; a roofline stands in. Tell which kind is like the "
        "module with latency_jax.whole_model.calls.register_call"
    )


def _names(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more


def _plain(rows: _Rows) -> list[list[Any]]:
    return [part.tolist() for part in rows]
