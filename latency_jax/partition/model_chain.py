"""A captured model on a chain of devices, each with a latency model of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from latency_jax.parameters import Value
from latency_jax.partition.parts import Parts, parts_of
from latency_jax.partition.plan import Chain, Device, Link
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.graph import Graph
from latency_jax.whole_model.predict import Predictor, predict_model
from packd_jax.config import ConfigError


class Machine(NamedTuple):
    """A device: what predicts it, and the conditions on it."""

    name: str
    model: Predictor
    conditions: Mapping[str, Value]


class PlannedModel(NamedTuple):
    """What a plan is made of."""

    graph: Graph
    parts: Parts
    chain: Chain
    warnings: tuple[str, ...]


def model_chain(
    module: nn.Module,
    inputs: Sequence[Any],
    machines: Sequence[Machine],
    links: Sequence[Link],
    returns_result: bool = False,
) -> PlannedModel:
    """The chain that `latency_jax.partition.plan.best_plan` plans for.

    The input is on the first machine. The model's calls are of kinds that every machine's latency
    model knows. Raises ParameterError for conditions that are none, ValueError for links that do
    not go with the machines.
    """
    common = [
        kind for kind in machines[0].model.kinds if all(kind in m.model.kinds for m in machines)
    ]
    graph = capture(module, inputs, common)
    predicted = [predict_model(m.model, graph, m.conditions, common) for m in machines]
    calls = predicted[0].calls
    parts = parts_of(graph, [call.call for call in calls])
    devices = [
        Device(m.name, parts.sums(np.array([call.latency_s for call in latency.calls])))
        for m, latency in zip(machines, predicted)
    ]
    returned = sum(graph.size_bytes[v] for v in graph.outputs) if returns_result else 0
    chain = Chain(devices, links, parts.cut_bytes, returned)
    warnings = tuple(
        f"{m.name}: {note}" for m, latency in zip(machines, predicted) for note in latency.warnings
    )
    return PlannedModel(graph, parts, chain, warnings)


def parse_link(text: str) -> Link:
    """The link of "12.5e6,0.002": bytes a second and seconds of delay. Raises ConfigError."""
    try:
        bandwidth, delay_s = map(float, text.split(","))
    except ValueError:
        bandwidth = delay_s = -1.0
    if not (bandwidth > 0 and delay_s >= 0):
        raise ConfigError(
            f"--link={text}: expected BYTES_PER_SECOND,DELAY_SECONDS, like 12.5e6,0.002"
        )
    return Link(bandwidth, delay_s)
