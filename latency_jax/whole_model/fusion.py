"""What XLA makes of a model's operations: convolutions with their batch norms and activations,
dense layers with theirs, and element-wise operations in the loop of what they follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from latency_jax.modules import get_kind, kinds
from latency_jax.parameters import Value
from latency_jax.whole_model.graph import Graph, Op
from latency_jax.whole_model.operations import ELEMENTWISE, FREE, UNKNOWN

_NORMED = {"conv2d": "conv_bn_relu", "depthwise_conv2d": "depthwise_conv_bn_relu"}
_ACTIVATED = ("dense", "conv_transpose2d", *_NORMED, *_NORMED.values())
_SOFTMAX_REACH = 8  # operations between the parts of a softmax
# Operations that move whole arrays, however they are fused.
_MOVING = ("transpose", "pad", "gather", "dynamic_slice", "dynamic_update_slice", "rev")


class FusedCall(NamedTuple):
    """What is predicted as one: an operation of a kind, and what is fused into it."""

    name: str
    kind: str  # a module kind, or UNKNOWN
    values: Mapping[str, Value]  # of the kind
    flops: float  # of one run
    bytes: float
    weight_bytes: float
    fused_bytes: float  # that element-wise operations of one run read or move besides
    equations: tuple[int, int]  # of the operation of the kind; what is fused into it follows
    runs: int
    module: str  # class of the module


@dataclass
class _Group:
    index: int
    head: Op
    kind: str
    values: dict[str, Value]
    last: int  # equation
    names: list[str] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)  # fused, element by element
    fused_bytes: float = 0.0


def fused_calls(graph: Graph, known: Collection[str] | None = None) -> tuple[FusedCall, ...]:
    """The operations of a graph as XLA runs them, in order.

    - A softmax that is written out is one operation.
    - A convolution that only a batch norm reads becomes a composite kind with it, if that is
      `known` (by default every registered kind is).
    - Element-wise operations join the last of what they read. An activation among them becomes
      that of a dense layer or a convolution; others, such as the addition of a residual, cost
      nothing but the bytes that they read from elsewhere.
    """
    known = kinds() if known is None else known
    readers = Counter(v for op in graph.ops for v in op.inputs)
    group_of: dict[int, _Group] = {}  # of each value
    groups: list[_Group] = []
    for op in with_softmax(graph.ops):
        source = max(
            (group_of[v] for v in op.inputs if v in group_of), key=lambda g: g.index, default=None
        )
        if source is not None and source.head.runs != op.runs:
            source = None  # the end of a loop lies between
        if source is not None and _is_normed(source, op, readers, known):
            source.kind, source.last = _NORMED[source.kind], op.equations[1]
            source.values.pop("use_bias", None)
            source.names.append(op.module)
        elif source is not None and (op.kind in (ELEMENTWISE, FREE) or _is_in_loop(source, op)):
            _join(
                source, op, [graph.size_bytes[v] for v in op.inputs if _other(group_of, v, source)]
            )
        elif op.kind != FREE:
            kind, values = _as_activation(op) if op.kind == ELEMENTWISE else op[3:5]
            source = _Group(len(groups), op, kind, dict(values), op.equations[1])
            groups.append(source)
        if source is not None:
            group_of.update((v, source) for v in op.outputs)
    return tuple(map(_finished, groups))


def with_softmax(ops: Sequence[Op]) -> list[Op]:
    """The same operations, but an exponential whose sum is taken stands for a softmax."""
    changed = list(ops)
    for i, op in enumerate(ops):
        if op.operation != "exp":
            continue
        near = range(max(i - _SOFTMAX_REACH, 0), min(i + _SOFTMAX_REACH, len(ops)))
        sums = [j for j in near if ops[j].operation == "reduce_sum" and ops[j].inputs == op.outputs]
        if not sums:
            continue
        differences = [ops[j] for j in near if set(ops[j].outputs) & set(op.inputs)]
        read = {v for difference in differences for v in difference.inputs}
        maxima = [j for j in near if ops[j].operation == "reduce_max" and {*ops[j].inputs} & read]
        pool = ops[sums[0]].values
        values = {
            "batch_size": pool["batch_size"],
            "positions": pool["features"],
            "features": pool["positions"],
            "dtype": pool["dtype"],
        }
        cost = get_kind("softmax").cost(values)
        changed[i] = op._replace(
            operation="softmax", kind="softmax", values=values, flops=cost.flops, bytes=cost.bytes
        )
        for j in (*sums[:1], *maxima[:1]):
            changed[j] = ops[j]._replace(kind=FREE, values={}, flops=0.0, bytes=0.0)
    return changed


def _other(group_of: Mapping[int, _Group], value: int, group: _Group) -> bool:
    return group_of.get(value) is not group


def _join(group: _Group, op: Op, elsewhere_bytes: Sequence[int]) -> None:
    if op.kind == FREE:
        return
    group.operations[op.operation or op.module] += 1
    group.fused_bytes += op.bytes if op.operation in _MOVING else sum(elsewhere_bytes)


def _is_normed(group: _Group, op: Op, readers: Counter[int], known: Collection[str]) -> bool:
    return (
        op.kind == "batch_norm"
        and _NORMED.get(group.kind) in known
        and not group.operations
        and all(readers[v] == 1 for v in op.inputs)
    )


def _is_in_loop(group: _Group, op: Op) -> bool:
    """Whether a batch norm, element-wise at inference, finds a loop over elements to be part of."""
    return op.kind == "batch_norm" and bool(group.values.get("use_bias") or group.operations)


def _as_activation(op: Op) -> tuple[str, dict[str, Value]]:
    """An element-wise operation on what the model is given, or on what a loop begins with."""
    elements = int(op.flops)
    features = min(elements, 256)
    values: dict[str, Value] = {"positions": elements // max(features, 1), "features": features}
    return "activation", {**values, "batch_size": 1, "activation": "relu"}


def _activation(operations: Counter[str]) -> str:
    """The activation that element-wise operations compute, by what is rare in other functions."""
    for name in ("gelu", "silu", "hard_swish", "leaky_relu", "relu6", "relu"):
        if operations[name]:
            return name
    if operations["erf"] or operations["erfc"]:
        return "gelu"
    if operations["logistic"]:
        return "silu" if operations["mul"] else "sigmoid"
    if operations["tanh"]:
        return "gelu" if operations["mul"] >= 3 else "tanh"
    return "relu" if operations["max"] else "none"


def _finished(group: _Group) -> FusedCall:
    head, values = group.head, group.values
    activation = _activation(group.operations)
    if group.kind in _ACTIVATED and activation != "none":
        values["activation"] = activation
        group.names.append(activation)
    if group.operations["add"] and group.fused_bytes:
        group.names.append("add")
    cost: Any = None
    if group.kind != UNKNOWN:
        cost = get_kind(group.kind).cost(values)
    return FusedCall(
        name="+".join((head.name, *group.names)),
        kind=group.kind,
        values=values,
        flops=cost.flops if cost else head.flops,
        bytes=cost.bytes if cost else head.bytes,
        weight_bytes=_weight_bytes(group.kind, cost),
        fused_bytes=group.fused_bytes,
        equations=(head.equations[0], group.last),
        runs=head.runs,
        module=head.module,
    )


def _weight_bytes(kind: str, cost: Any) -> float:
    """Of what is read: of an embedding only the rows of the tokens."""
    if cost is None:
        return 0.0
    return min(cost.weight_bytes, cost.output_bytes) if kind == "embedding" else cost.weight_bytes
