"""Which policy: the one that would have been best on loads that are not judged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from packd_jax.config.checks import require
from packd_jax.prefetch.learned import Student, Thought, decide, probabilities
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.outcome import Outcome
from packd_jax.prefetch.policy import PolicyConfig
from packd_jax.prefetch.prefetcher import precomputed
from packd_jax.prefetch.retention import RetentionConfig
from packd_jax.prefetch.simulator import simulate
from packd_jax.traces.load_trace import LoadTrace, window_rows

OBJECTIVES = ("cycles", "coverage")
THRESHOLDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4)
NEARNESS = (0, 16)
LEADS = (1, 2, 4)
BACKLOGS = (0, 8)
WARM_LOADS = 1 << 17  # four times the blocks of an LLC of 2 MiB


class Choice(NamedTuple):
    """What was chosen, its loss on the loads that it was chosen by (NaN without any), and how
    many prefetches it sent to DRAM there."""

    policy: PolicyConfig
    retention: RetentionConfig | None
    loss: float
    issued: int


@dataclass(frozen=True)
class Objective:
    """What a policy is chosen for."""

    name: str = "cycles"  # cycles: fewest estimated | coverage: most, at an accuracy floor
    accuracy_floor: float = 0.5
    tolerance: float = 0.01  # of policies whose loss is so close to the least, the thriftiest

    def __post_init__(self) -> None:
        require(self.name in OBJECTIVES, "objective.name", self.name, f"one of {OBJECTIVES}")
        floor = self.accuracy_floor
        require(0 <= floor <= 1, "objective.accuracy_floor", floor, "0 to 1")
        tolerance = self.tolerance
        require(0 <= tolerance < 1, "objective.tolerance", tolerance, "0 or more, below 1")

    def loss(self, outcome: Outcome) -> float:
        """The less, the better. Below the floor any gain of accuracy is better than coverage."""
        if self.name == "cycles":
            return outcome.est_cycles
        missing = self.accuracy_floor - outcome.accuracy
        return -outcome.coverage if missing <= 0 else 1 + missing

    def best(self, tried: Iterable[Choice]) -> Choice:
        """The one that sends the fewest prefetches to DRAM among those as good as the best.

        What the choosing loads cannot tell apart other loads may: useless blocks cost most there.
        """
        every = list(tried)
        least = min(choice.loss for choice in every)
        close = [c for c in every if c.loss <= least + self.tolerance * abs(least)]
        return min(close, key=lambda choice: choice.issued)


FEWEST_CYCLES = Objective()


def choose_policy(
    student: Student,
    trace: LoadTrace,
    machine: Machine,
    start: int,
    stop: int,
    objective: Objective = FEWEST_CYCLES,
) -> PolicyConfig:
    """The policy that does best over instructions [start, stop) of the trace, see `best_policy`."""
    known = trace.take(window_rows(trace, 0, stop, "instructions"))
    own = window_rows(known, start, stop, "instructions")
    thoughts = list(probabilities(student, known, own))
    return best_policy(thoughts, known, machine, start, objective).policy


def best_policy(
    thoughts: Sequence[Thought],
    trace: LoadTrace,
    machine: Machine,
    start: int,
    objective: Objective = FEWEST_CYCLES,
    retentions: Sequence[RetentionConfig | None] = (None,),
) -> Choice:
    """The policy and the retention that do best from instruction `start` of the trace on.

    `thoughts` are those of the loads from there on. Threshold and nearness are chosen first; then,
    if there is a choice, retention with another threshold; then, without tolerance, the least
    lead, whether pages are crossed, and the backlog. `WARM_LOADS` before `start` fill the LLC.
    """
    usual = PolicyConfig(degree=machine.degree)
    first = window_rows(trace, 0, start, "instructions").stop
    if first == trace.rows:
        return Choice(usual, retentions[0], math.nan, 0)
    warm = slice(max(0, first - WARM_LOADS), trace.rows)

    def tried(policy: PolicyConfig, retention: RetentionConfig | None) -> Choice:
        blocks = precomputed("", decide(thoughts, trace, policy, retention)[warm], 0)
        outcome = simulate(trace.take(warm), blocks, machine, start)
        return Choice(policy, retention, objective.loss(outcome), outcome.issued)

    best = objective.best(
        tried(replace(usual, threshold=threshold, nearness=nearness), retentions[0])
        for threshold, nearness in itertools.product(THRESHOLDS, NEARNESS)
    )
    if len(retentions) > 1:
        best = objective.best(
            tried(replace(best.policy, threshold=threshold), retention)
            for threshold, retention in itertools.product(THRESHOLDS, retentions)
        )
    return min(
        (
            tried(
                replace(best.policy, minimum_lead=lead, cross_page=cross_page, backlog=backlog),
                best.retention,
            )
            for lead, cross_page, backlog in itertools.product(LEADS, (True, False), BACKLOGS)
        ),
        key=lambda choice: choice.loss,
    )
