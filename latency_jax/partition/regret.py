"""What a plan costs over the best split there is, both measured.

The pieces of a split are timed on this machine, each under the conditions of its device; what
crosses the cut takes what the chain says, as no link is there. So the regret of a plan is that of
the predictions that it was made from. A piece that holds another takes no less than it; measured
times say otherwise now and then, and the best of many cuts would be the luckiest of them, so they
are drawn to the nearest ones that keep this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from latency_jax.measuring.load import Load
from latency_jax.partition.measured_pieces import MeasuredPieces, Piece
from latency_jax.partition.model_chain import PlannedModel
from latency_jax.partition.plan import OBJECTIVES, Chain, Plan
from latency_jax.partition.refined import Refined
from latency_jax.whole_model.measured_model import WholeModel


class Regret(NamedTuple):
    """Of the plan that is best for an objective by prediction, and of what it is refined to."""

    objective: str
    predicted: Plan  # the chosen split
    chosen: Plan  # the same, measured
    refined: Plan  # what was chosen after the cuts `tried`, measured
    tried: tuple[int, ...]
    best: Plan  # the best of the measured ones

    @property
    def regret(self) -> float:
        """Share by which the chosen split is worse; 0 where none that was measured is better."""
        return self._over_best(self.chosen)

    @property
    def refined_regret(self) -> float:
        return self._over_best(self.refined)

    def _over_best(self, plan: Plan) -> float:
        return plan.cost_s(self.objective) / self.best.cost_s(self.objective) - 1


def spread_cuts(chain: Chain, count: int = 0) -> tuple[int, ...]:
    """Cuts of a chain of two devices, rising, `count` evenly spread from end to end; 0 is all.

    Raises ValueError for a count of 1.
    """
    if count == 0:
        return tuple(range(chain.parts + 1))
    if count < 2:
        raise ValueError(f"count = {count}: expected 2 (both ends) or more, or 0 for all")
    return tuple(np.unique(np.linspace(0, chain.parts, count).round().astype(int)).tolist())


def measure_splits(
    model: WholeModel,
    planned: PlannedModel,
    loads: tuple[Load, Load],
    pieces: MeasuredPieces,
    cuts: Sequence[int],
) -> dict[int, Plan]:
    """The measured plan of each cut of a model between two devices under `loads`."""
    end = planned.parts.equations[-1]
    splits = {}
    for cut in cuts:
        at = planned.parts.equations[cut]
        splits[cut] = (Piece(model, loads[0], 0, at), Piece(model, loads[1], at, end))
    run = [piece for both in splits.values() for piece in both if piece.start < piece.stop]
    times = pieces.measure(planned.graph, run)
    seconds = {piece: time.latency_s for piece, time in times.items()}
    rising = sorted(splits)
    fronts = nested([seconds.get(splits[cut][0], 0.0) for cut in rising])
    backs = nested([seconds.get(splits[cut][1], 0.0) for cut in reversed(rising)])
    return measured_plans(planned.chain, dict(zip(rising, zip(fronts, reversed(backs)))))


def nested(seconds: Sequence[float]) -> list[float]:
    """Of pieces that each hold the one before: the nearest times, in logs, that never fall.

    Isotonic regression. Pieces without equations take 0 and stand first.
    """
    from sklearn.isotonic import isotonic_regression

    some = [s for s in seconds if s > 0]
    drawn = np.exp(isotonic_regression(np.log(some))) if some else np.zeros(0)
    return [0.0] * (len(seconds) - len(some)) + drawn.tolist()


def measured_plans(chain: Chain, device_s: Mapping[int, tuple[float, float]]) -> dict[int, Plan]:
    """The plans of cuts of a chain of two devices that take `device_s`, not what is predicted."""
    return {
        cut: replace(chain.plan((0, cut, chain.parts)), device_s=seconds)
        for cut, seconds in device_s.items()
    }


def regrets(
    chain: Chain, measured: Mapping[int, Plan], refined: Mapping[str, Refined]
) -> list[Regret]:
    """For each objective, the regrets of the plan that is best for it by prediction, and refined.

    `measured` plans by cut. Raises ValueError where a cut that was tried is not among them.
    """
    found = []
    for objective in OBJECTIVES:
        tried, cut = refined[objective]
        if missing := set(tried) - set(measured):
            raise ValueError(
                f"cuts {sorted(measured)} are measured: expected {sorted(missing)} too, which were "
                f"tried for {objective}"
            )
        best = min(measured.values(), key=lambda plan: plan.cost_s(objective))
        predicted = chain.plan((0, tried[0], chain.parts))
        found.append(Regret(objective, predicted, measured[tried[0]], measured[cut], tried, best))
    return found
