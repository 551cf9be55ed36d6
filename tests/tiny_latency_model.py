"""A small latency model: rooflines fitted to made-up machines, for tests of whole models."""

from __future__ import annotations

import numpy as np

from latency_jax.latency_model import LatencyModel, kind_model
from latency_jax.modules import get_kind, kinds, sample_config
from latency_jax.parameters import CONDITIONS
from latency_jax.regressors import make_regressor
from latency_jax.table import make_table

OVERHEAD_S = 2e-6
OFF = {c.name: "off" for c in CONDITIONS if c.name not in ("batch_size", "cpu_utilization")}


def machine_seconds(kind: str, columns: dict[str, np.ndarray], flop_rate: float) -> np.ndarray:
    """What a machine of that speed takes: a roofline with one byte for every four FLOPs."""
    cost = get_kind(kind).cost(columns)
    busy = 1 + columns.get("cpu_utilization", np.zeros(1))
    return (OVERHEAD_S + np.maximum(cost.flops, 4 * cost.bytes) / flop_rate) * busy


def tiny_model(flop_rate: float = 1e10, only: tuple[str, ...] = (), rows: int = 60) -> LatencyModel:
    """Rooflines of all kinds (or `only` some) that have seen `rows` configurations each."""
    rng = np.random.default_rng(0)
    models = {}
    for kind in only or kinds():
        configs = [sample_config(kind, rng, {**OFF, "cpu_utilization": "off"}) for _ in range(rows)]
        values = [config.values for config in configs]
        names = [p.name for p in (*get_kind(kind).parameters, *CONDITIONS)]
        columns = {name: np.array([v[name] for v in values]) for name in names}
        table = make_table(kind, columns, machine_seconds(kind, columns, flop_rate))
        regressor = make_regressor("roofline", kind).fit(table, table, 0)
        models[kind] = kind_model(regressor, table, table)
    return LatencyModel(models, {"id": "tiny"})
