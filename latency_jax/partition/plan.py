"""The best way to split a model between devices that stand in a chain.

Device k runs the parts that follow those of device k - 1, and may run none. What is alive at a
cut crosses the link there: a residual connection that spans the cut as well as the last result.
For one input the time is that of all devices and links together (latency). For a stream of
inputs, where every device works on another one, the slowest device or link sets the pace
(throughput); delay then costs nothing. Both are found exactly, by dynamic programming over
devices and cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

OBJECTIVES = ("latency", "throughput")
_SLACK = 1e-12  # relative, for sums that were added up in another order


class Device(NamedTuple):
    """A device, or one of a machine's conditions."""

    name: str
    latency_s: np.ndarray  # f64[N], of each part


class Link(NamedTuple):
    """From one device to the next, and back."""

    bandwidth: float  # bytes/s
    delay_s: float


@dataclass(frozen=True)
class Plan:
    """Who runs what: device k runs the parts `bounds[k]:bounds[k + 1]`."""

    bounds: tuple[int, ...]  # 0, a cut after each device, N
    device_s: tuple[float, ...]  # of one input
    transfer_s: tuple[float, ...]  # of each link; 0 where nothing passes
    occupied_s: tuple[float, ...]  # of each link: its transfer without delay

    @property
    def latency_s(self) -> float:
        """From the input on the first device to the result."""
        return sum(self.device_s) + sum(self.transfer_s)

    @property
    def interval_s(self) -> float:
        """Between two results of a stream."""
        return max(*self.device_s, *self.occupied_s, 0.0)

    @property
    def throughput(self) -> float:
        """Results a second."""
        return 1 / self.interval_s if self.interval_s else np.inf

    def cost_s(self, objective: str) -> float:
        """What an objective makes least: the latency, or the interval between results."""
        _check(objective)
        return self.latency_s if objective == "latency" else self.interval_s


@dataclass(frozen=True)
class Chain:
    """A model of N parts, K devices, K - 1 links.

    `cut_bytes` i64[N + 1] cross a cut before each part and at the end; the first are the model's
    inputs, which are on the first device. `returned_bytes` go back there from where the last part
    ran; 0 leaves the result where it is. Raises ValueError for sizes that do not go together.
    """

    devices: Sequence[Device]
    links: Sequence[Link]
    cut_bytes: np.ndarray
    returned_bytes: int = 0

    def __post_init__(self) -> None:
        parts = self.parts
        if not self.devices or len(self.links) != len(self.devices) - 1:
            raise ValueError(
                f"{len(self.devices)} devices, {len(self.links)} links: expected a link between "
                "each device and the next"
            )
        for device in self.devices:
            if device.latency_s.shape != (parts,):
                raise ValueError(
                    f"device {device.name!r} has latencies {device.latency_s.shape}: expected "
                    f"({parts},), one for each part between {parts + 1} cuts"
                )
        for link in self.links:
            if not (link.bandwidth > 0 and link.delay_s >= 0):
                raise ValueError(f"{link}: expected a bandwidth above 0 and a delay of 0 or more")

    @property
    def parts(self) -> int:
        """N."""
        return len(self.cut_bytes) - 1

    def plan(self, bounds: Sequence[int]) -> Plan:
        """What a split takes. Raises ValueError for bounds that do not rise from 0 to N."""
        parts, count = self.parts, len(self.devices)
        rising = all(low <= high for low, high in pairwise(bounds))
        if len(bounds) != count + 1 or (bounds[0], bounds[-1]) != (0, parts) or not rising:
            raise ValueError(
                f"bounds {tuple(bounds)}: expected {count + 1} that rise from 0 to {parts}"
            )
        spans = list(pairwise(bounds))
        last = max(k for k, (low, high) in enumerate(spans) if high > low or k == 0)
        device_s = [float(d.latency_s[a:b].sum()) for d, (a, b) in zip(self.devices, spans)]
        used = list(enumerate(bounds[1 : last + 1]))  # links, and the cuts at them
        unused = (0.0,) * (count - 1 - last)
        return Plan(
            tuple(bounds),
            tuple(device_s),
            (*(float(self.transfer_s(k)[cut]) for k, cut in used), *unused),
            (*(float(self.occupied_s(k)[cut]) for k, cut in used), *unused),
        )

    def occupied_s(self, link: int) -> np.ndarray:
        """f64[N + 1] that the link is busy with one input, for each cut there."""
        return (self.cut_bytes + self.returned_bytes) / self.links[link].bandwidth

    def transfer_s(self, link: int) -> np.ndarray:
        """f64[N + 1] that one input waits for the link, for each cut there."""
        ways = 2 if self.returned_bytes else 1
        return self.occupied_s(link) + ways * self.links[link].delay_s


def best_plan(chain: Chain, objective: str) -> Plan:
    """The plan of least latency, or of most throughput and among those of least latency.

    Raises ValueError for another objective.
    """
    _check(objective)
    if objective == "latency":
        return chain.plan(_search(chain, np.inf))
    return chain.plan(_search(chain, _best_interval(chain) * (1 + _SLACK)))


def _check(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(f"objective = {objective!r}: expected one of {OBJECTIVES}")


def _search(chain: Chain, interval_s: float) -> list[int]:
    """Bounds of least latency where no device and no link is busy for longer than `interval_s`."""
    return _dynamic_program(
        [_within(_spans(device), interval_s) for device in chain.devices],
        [
            np.where(chain.occupied_s(k) > interval_s, np.inf, chain.transfer_s(k))
            for k in range(len(chain.links))
        ],
        np.add,
    )[1]


def _best_interval(chain: Chain) -> float:
    links = [chain.occupied_s(k) for k in range(len(chain.links))]
    return _dynamic_program([_spans(device) for device in chain.devices], links, np.maximum)[0]


def _dynamic_program(
    devices: Sequence[np.ndarray], links: Sequence[np.ndarray], combine: np.ufunc
) -> tuple[float, list[int]]:
    """(least cost, bounds). Devices f64[N + 1, N + 1] by first and past-the-last part, links
    f64[N + 1] by cut; `combine` (sum or maximum) makes one cost of those along the chain."""
    cost = devices[0][0]  # of having run the parts before each cut
    choices: list[np.ndarray] = []
    best, last = float(cost[-1]), 0
    for k, (spans, link) in enumerate(zip(devices[1:], links), 1):
        candidates = combine(combine(cost, link)[:, None], spans)  # [from, to]
        choices.append(candidates.argmin(axis=0))
        cost = candidates.min(axis=0)
        if cost[-1] < best:  # else the devices so far do all of it
            best, last = float(cost[-1]), k
    parts = devices[0].shape[0] - 1
    bounds = [parts]
    for choice in reversed(choices[:last]):
        bounds.insert(0, int(choice[bounds[0]]))
    return best, [0, *bounds, *[parts] * (len(devices) - 1 - last)]


def _spans(device: Device) -> np.ndarray:
    """Seconds of parts i to j - 1 as f64[N + 1, N + 1]; infinite where j < i."""
    until = np.concatenate([[0.0], np.cumsum(device.latency_s)])
    span = until[None, :] - until[:, None]
    return np.where(np.tri(len(until), k=-1, dtype=bool), np.inf, span)


def _within(seconds: np.ndarray, interval_s: float) -> np.ndarray:
    return np.where(seconds > interval_s, np.inf, seconds)
