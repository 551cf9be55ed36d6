"""Time/Space-efficient auto-selection: one regressor (RM) for each kind out of many.

The abstract of arXiv 2312.06440 asks for the set of RMs of "the highest possible overall
prediction accuracy, while keeping the prediction time / space consumption as low as possible";
how is reconstruction. Here every kind keeps the RMs whose accuracy on validation is within a
tolerance of its best, and among all sets of these the one of least time, space, or a weighted sum
of both is found exactly. Files that RMs of several kinds share, such as the encoder of a MEDN,
are paid once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from latency_jax.scores import Scores

MODES = ("time", "space", "weighted")
CALLS = ("batch", "single")
MAX_SHARED = 10  # sets of files that several kinds share; the search doubles with each
_WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of time, that the front is made of


class Candidate(NamedTuple):
    """What one fitted RM of one kind is worth and what it costs."""

    kind: str
    name: str
    scores: Scores  # on validation
    seconds_per_row: float  # in a call of 1,000 rows
    seconds_single: float  # of a call of one row
    files: Mapping[str, int]  # bytes by digest of the content: equal files are one

    @property
    def size_bytes(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True)
class Goal:
    """What is kept, and what is then minimised."""

    mode: str = "time"
    tolerance: float = 0.003  # of the metric below the kind's best, to be a candidate at all
    metric: str = "accuracy"  # a field of Scores where more is better
    calls: str = "batch"  # which time counts: per row of a batch, or of a single row
    time_weight: float = 0.5  # for mode "weighted"

    def __post_init__(self) -> None:
        for name, given, known in (
            ("mode", self.mode, MODES),
            ("calls", self.calls, CALLS),
            ("metric", self.metric, tuple(n for n in Scores._fields if n != "mape")),
        ):
            if given not in known:
                raise ValueError(f"{name} = {given!r}: expected one of {', '.join(known)}")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance = {self.tolerance}: expected 0 or more")
        if not 0 <= self.time_weight <= 1:
            raise ValueError(f"time_weight = {self.time_weight}: expected 0 to 1")


class Selection(NamedTuple):
    """One RM for each kind. Times and the metric are means over kinds, bytes those of all."""

    names: dict[str, str]  # kind -> RM
    value: float  # of the goal's metric, on validation
    seconds_per_row: float
    seconds_single: float
    size_bytes: int


def select(candidates: Sequence[Candidate], goal: Goal) -> Selection:
    """The set of least cost; of equals the more accurate.

    mode "weighted" minimises the weighted sum of time and space, each over the least possible.
    Raises ValueError without candidates, or where the metric is undefined for a kind.
    """
    return _Grid(candidates, goal).select(goal.mode, goal.tolerance, goal.time_weight)


def only(candidates: Sequence[Candidate], name: str, goal: Goal) -> Selection | None:
    """The RM of that name for every kind; None where a kind has none of it."""
    chosen = [c for c in candidates if c.name == name]
    complete = {c.kind for c in chosen} == {c.kind for c in candidates}
    return _selection(chosen, goal) if complete else None


def best_single(candidates: Sequence[Candidate], goal: Goal) -> Selection:
    """The one RM that is best on the mean of all kinds; ValueError where none was fitted to all."""
    singles = [only(candidates, name, goal) for name in dict.fromkeys(c.name for c in candidates)]
    complete = [single for single in singles if single is not None]
    if not complete:
        raise ValueError("no regressor was fitted for every kind: fit one for all of them")
    return max(complete, key=lambda single: single.value)


def front(candidates: Sequence[Candidate], goal: Goal) -> list[Selection]:
    """What selection can reach over all tolerances and weights, less what something else beats.

    From the most accurate down. Mode, tolerance and weight of the goal do not matter.
    """
    grid = _Grid(candidates, goal)
    found = {}
    for tolerance in grid.gaps():
        for weight in _WEIGHTS:
            selection = grid.select("weighted", tolerance, weight)
            found[tuple(selection.names.values())] = selection
    sets = list(found.values())
    costs = np.array([(-s.value, _time(s, goal), s.size_bytes) for s in sets])
    beaten = [((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any() for own in costs]
    kept = [s for s, is_beaten in zip(sets, beaten) if not is_beaten]
    return sorted(kept, key=lambda s: (-s.value, s.size_bytes))


def file_sizes(files: Mapping[str, bytes]) -> dict[str, int]:
    """Bytes by digest of the content, for a Candidate."""
    return {digest(data): len(data) for data in files.values()}


def digest(data: bytes) -> str:
    """What equal files have in common: 16 hex digits."""
    return hashlib.sha256(data).hexdigest()[:16]


class _Grid:
    """Candidates as arrays [K, R], padded with useless ones; the most accurate come first."""

    def __init__(self, candidates: Sequence[Candidate], goal: Goal) -> None:
        if not candidates:
            raise ValueError("no candidates: fit at least one regressor")
        self.goal = goal
        kinds = dict.fromkeys(c.kind for c in candidates)
        self.rows = [
            sorted((c for c in candidates if c.kind == kind), key=lambda c: -_value(c, goal))
            for kind in kinds
        ]
        shape = (len(self.rows), max(map(len, self.rows)))
        # Of one kind one RM is chosen: files that only its RMs have in common are never shared.
        owners = Counter(d for _, d in {(c.kind, d) for c in candidates for d in c.files})
        self.value = np.full(shape, -np.inf)
        self.seconds, self.own_bytes = np.zeros(shape), np.zeros(shape)
        self.needs = np.full(shape, -1)  # which of the shared sets of files
        self.shared: list[dict[str, int]] = []
        for k, rms in enumerate(self.rows):
            for r, candidate in enumerate(rms):
                shared = {d: size for d, size in candidate.files.items() if owners[d] > 1}
                if shared and shared not in self.shared:
                    self.shared.append(shared)
                self.value[k, r] = _value(candidate, goal)
                self.seconds[k, r] = _time(candidate, goal) / len(self.rows)
                self.own_bytes[k, r] = candidate.size_bytes - sum(shared.values())
                self.needs[k, r] = self.shared.index(shared) if shared else -1
        if len(self.shared) > MAX_SHARED:
            raise ValueError(
                f"{len(self.shared)} sets of files are shared between kinds: expected at most "
                f"{MAX_SHARED}; offer fewer multi-task regressors"
            )
        # All of them first: of equal sets the first is taken.
        self.paid = list(product((True, False), repeat=len(self.shared)))

    def gaps(self) -> list[float]:
        """Every tolerance at which another candidate comes in."""
        gaps = self.value[:, :1] - self.value
        return sorted(set(gaps[np.isfinite(gaps)].tolist()))

    def select(self, mode: str, tolerance: float, time_weight: float) -> Selection:
        # An edge is a difference of floats, so that candidate needs a little more than its gap.
        kept = self.value >= self.value[:, :1] - tolerance * (1 + 1e-9)
        weights = {"time": (1.0, 0.0), "space": (0.0, 1.0)}
        if mode == "weighted":
            _, least_seconds = self._cheapest(kept, *weights["time"])
            _, least_bytes = self._cheapest(kept, *weights["space"])
            weights[mode] = (time_weight / least_seconds, (1 - time_weight) / least_bytes)
        chosen, _ = self._cheapest(kept, *weights[mode])
        return _selection([rms[r] for rms, r in zip(self.rows, chosen)], self.goal)

    def _cheapest(
        self, kept: np.ndarray, per_second: float, per_byte: float
    ) -> tuple[np.ndarray, float]:
        """(which candidate of each kind i64[K], what they cost together). Exact:

        Once it is settled which shared files are paid for, kinds do not depend on each other, so
        each takes its cheapest; the best set is met when what it holds is what is paid for.
        """
        own = per_second * self.seconds + per_byte * self.own_bytes
        own = np.where(kept, own, np.inf)
        best: tuple[np.ndarray, float] = (np.zeros(len(own), np.int64), np.inf)
        for paid in self.paid:
            files = dict(chain(*(s.items() for s, is_paid in zip(self.shared, paid) if is_paid)))
            allowed = np.array([*paid, True])[self.needs]  # -1, no needs, is the last
            cost = np.where(allowed, own, np.inf)
            chosen = cost.argmin(axis=1)
            total = float(cost.min(axis=1).sum() + per_byte * sum(files.values()))
            if total < best[1]:
                best = chosen, total
        return best


def _value(candidate: Candidate, goal: Goal) -> float:
    value = getattr(candidate.scores, goal.metric)
    if np.isnan(value):
        raise ValueError(
            f"{goal.metric} of {candidate.name!r} for kind {candidate.kind!r} is undefined: choose "
            "another metric"
        )
    return value


def _time(what: Candidate | Selection, goal: Goal) -> float:
    return what.seconds_per_row if goal.calls == "batch" else what.seconds_single


def _selection(chosen: Sequence[Candidate], goal: Goal) -> Selection:
    files = dict(chain(*(c.files.items() for c in chosen)))
    return Selection(
        names={c.kind: c.name for c in chosen},
        value=float(np.mean([_value(c, goal) for c in chosen])),
        seconds_per_row=float(np.mean([c.seconds_per_row for c in chosen])),
        seconds_single=float(np.mean([c.seconds_single for c in chosen])),
        size_bytes=sum(files.values()),
    )
