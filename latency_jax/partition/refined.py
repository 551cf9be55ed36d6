"""A plan that looks at what it predicted: a few measured cuts say how far off each device is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from latency_jax.partition.plan import Chain, Plan, best_plan


class Refined(NamedTuple):
    """The cuts of a chain of two devices that were tried, and the best of them, measured."""

    tried: tuple[int, ...]  # the first is the best by prediction
    cut: int


def refine(
    chain: Chain,
    objective: str,
    measure: Callable[[Sequence[int]], Mapping[int, Plan]],
    most: int = 4,
) -> Refined:
    """Measures the best cut by prediction, corrects the prediction, and looks again.

    `measure` gives the measured plans of cuts. After it the parts of a device take as much more
    or less than predicted as all of them together did, on its side of that cut. Ends at a cut
    that was measured already, and after `most` of them.
    """
    found: dict[int, Plan] = {}
    corrected = chain
    while len(found) < most:
        cut = best_plan(corrected, objective).bounds[1]
        if cut in found:
            break
        found[cut] = measure([cut])[cut]
        predicted = chain.plan((0, cut, chain.parts)).device_s
        off = [m / p if p > 0 else 1.0 for m, p in zip(found[cut].device_s, predicted)]
        devices = [
            device._replace(latency_s=device.latency_s * factor)
            for device, factor in zip(chain.devices, off)
        ]
        corrected = replace(chain, devices=devices)
    return Refined(tuple(found), min(found, key=lambda cut: found[cut].cost_s(objective)))
