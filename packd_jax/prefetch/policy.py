"""From what a predictor thinks of every delta to the blocks that are prefetched.

A predictor scores deltas to the block of the current load, and says nothing of when they come.
The policy decides on them row by row, from that row and those before it, as hardware would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from packd_jax.config.checks import require

PAGE_BLOCKS = 64
NONE = -1  # no prefetch


@dataclass(frozen=True)
class PolicyConfig:
    """Which deltas are prefetched, and in which order.

    Likely blocks far off are needed later than those near by, and may be gone by then.
    """

    threshold: float = 0.1  # score from which a delta is prefetched, the highest first
    nearness: int = 0  # score: probability * exp(-|delta| / nearness); 0: probability
    degree: int = 2  # prefetches a load, at most
    minimum_lead: int = 1  # blocks; nearer ones would arrive late
    filter_blocks: int = 128  # direct-mapped filter of blocks asked for or loaded lately; 0: none
    cross_page: bool = True  # whether blocks of other 4 KiB pages are prefetched
    backlog: int = 0  # blocks beyond the degree that later loads, of any PC, have places for

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, "policy.threshold", self.threshold, "0 to 1")
        require(self.degree >= 1, "policy.degree", self.degree, "at least 1")
        require(self.minimum_lead >= 1, "policy.minimum_lead", self.minimum_lead, "at least 1")
        require(self.nearness >= 0, "policy.nearness", self.nearness, "0 or more blocks")
        size = self.filter_blocks
        require(
            size >= 0 and size & (size - 1) == 0,
            "policy.filter_blocks",
            size,
            "0 or a power of two",
        )
        require(0 <= self.backlog <= 1024, "policy.backlog", self.backlog, "0 to 1024")

    @property
    def bits(self) -> int:
        """Of the state: a 16-bit tag for each entry of the filter, a block of 42 in the backlog."""
        return 16 * self.filter_blocks + 42 * self.backlog


def bitmap_deltas(bits: int) -> np.ndarray:
    """The delta of each bit of a bitmap of D bits, i64[D], see `packd_jax.features`."""
    bound = bits // 2
    return np.concatenate([np.arange(1, bound + 1), np.arange(-bound, 0)])


class Policy:
    """Decides on loads in trace order, and remembers in its filter what was asked for lately.

    `deltas` i64[D] are those that are scored, in blocks.
    """

    def __init__(self, deltas: np.ndarray, config: PolicyConfig) -> None:
        self.deltas, self.config = np.asarray(deltas, np.int64), config
        distance = np.abs(self.deltas)
        self._tried = np.flatnonzero(distance >= config.minimum_lead)
        nearness = config.nearness or np.inf
        self._worth = np.exp(-distance[self._tried] / nearness).astype(np.float32)
        self._recent = np.full(max(config.filter_blocks, 1), NONE, np.int32)
        self._backlog = np.full(1 + config.backlog, NONE, np.int64)
        self._backlog[0] = 0

    def choose(self, probability: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Blocks to prefetch at each load, i64[N, degree], NONE where there are no more.

        `probability` f32[N, D] is what is thought of each delta at the next N loads, of blocks
        `block` i64[N]. No row depends on a later one. Raises ValueError for other shapes.
        """
        expected = (len(block), len(self.deltas))
        if probability.shape != expected:
            raise ValueError(
                f"probability {probability.shape}: expected {expected}, loads by deltas"
            )
        chosen = np.full((len(block), self.config.degree), NONE, np.int64)
        if len(self._tried):
            _choose(
                probability[:, self._tried] * self._worth[None],
                self.deltas[self._tried],
                np.asarray(block, np.int64),
                np.float32(self.config.threshold),
                self.config.cross_page,
                self._recent,
                self.config.filter_blocks > 0,
                self._backlog,
                chosen,
            )
        return chosen


@numba.njit(cache=True, nogil=True)
def _choose(score, deltas, block, threshold, cross_page, recent, filtered, backlog, chosen):
    """Fills `chosen`, and spoils `score`. `backlog` is a ring behind the place of its next one."""
    size, waiting = len(recent), backlog[1:]
    degree = chosen.shape[1]
    for row in range(len(block)):
        current = block[row]
        if filtered:
            recent[current % size] = _tag(current, size)
        place = left = 0
        while place < degree or left < min(degree, len(waiting)):
            best = int(np.argmax(score[row]))
            if score[row, best] < threshold or score[row, best] < 0:
                break
            score[row, best] = -1.0
            target = current + deltas[best]
            same_page = target // PAGE_BLOCKS == current // PAGE_BLOCKS
            if target < 0 or not (cross_page or same_page):
                continue
            if filtered and recent[target % size] == _tag(target, size):
                continue
            if place == degree:
                waiting[backlog[0]] = target
                backlog[0] = (backlog[0] + 1) % len(waiting)
                left += 1
                continue
            chosen[row, place] = target
            place += 1
            if filtered:
                recent[target % size] = _tag(target, size)
        for age in range(1, len(waiting) + 1):  # the latest first
            slot = (backlog[0] - age) % len(waiting)
            target = waiting[slot]
            if place == degree:
                break
            waiting[slot] = NONE
            if target == NONE or (filtered and recent[target % size] == _tag(target, size)):
                continue
            chosen[row, place] = target
            place += 1
            if filtered:
                recent[target % size] = _tag(target, size)


@numba.njit(cache=True, nogil=True)
def _tag(block, size):
    """What a filter entry remembers of a block: others may share it, and then are left out."""
    return np.int32(block // size & 0xFFFF)
