"""A roofline for what a latency model does not know, from what it does know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from latency_jax.modules import get_kind, kinds, sample_config
from latency_jax.parameters import CONDITIONS, Value

_DRAWS = 32  # of each kind


class Roofline(NamedTuple):
    """seconds = overhead + max(FLOPs / FLOP rate, bytes / byte rate), and how far off that is."""

    flop_rate: float  # 1/s
    byte_rate: float
    overhead_s: float
    low: float  # factors that 90 of 100 calls of known kinds lie between
    high: float

    def seconds(self, flops: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """f64[N] of FLOPs and bytes f64[N]."""
        return self.overhead_s + np.maximum(flops / self.flop_rate, moved / self.byte_rate)


def roofline_of(model: Any, conditions: Mapping[str, Value]) -> Roofline:
    """Rates that the kinds of a latency model reach, by configurations drawn of each.

    Raises ValueError where the model has no kind that is registered.
    """
    rng = np.random.default_rng(0)  # the same rates every time
    off = {condition.name: "off" for condition in CONDITIONS if condition.name != "batch_size"}
    flops: list[np.ndarray] = []
    moved: list[np.ndarray] = []
    seconds: list[np.ndarray] = []
    for kind in model.kinds:
        if kind not in kinds():
            continue
        rows = [sample_config(kind, rng, off).values for _ in range(_DRAWS)]
        columns = columns_of(rows, conditions)
        cost, prediction = get_kind(kind).cost(columns), model.predict(kind, columns)
        known = prediction.in_domain if prediction.in_domain.any() else slice(None)
        for part, values in (
            (flops, cost.flops),
            (moved, cost.bytes),
            (seconds, prediction.latency),
        ):
            part.append(values[known])
    if not seconds:
        raise ValueError(f"kinds of the latency model are {model.kinds}: expected a registered one")
    all_flops, all_moved, all_s = map(np.concatenate, (flops, moved, seconds))
    flop_rate, byte_rate = (_rate(work, all_s) for work in (all_flops, all_moved))
    roofline = Roofline(flop_rate, byte_rate, float(all_s.min()), 1.0, 1.0)
    factors = all_s / roofline.seconds(all_flops, all_moved)
    low, high = np.quantile(factors, [0.05, 0.95]).tolist()
    return roofline._replace(low=min(low, 1.0), high=max(high, 1.0))


def _rate(work: np.ndarray, seconds: np.ndarray) -> float:
    """What three of four calls stay below, as the other side of the roofline holds them up."""
    with_work = work > 0
    return (
        float(np.quantile(work[with_work] / seconds[with_work], 0.75))
        if with_work.any()
        else np.inf
    )


def columns_of(
    rows: Sequence[Mapping[str, Value]], conditions: Mapping[str, Value]
) -> dict[str, np.ndarray]:
    """Values of N configurations of one kind as columns, each [N]; `conditions` hold for all."""
    return {name: np.array([{**row, **conditions}[name] for row in rows]) for name in rows[0]}
