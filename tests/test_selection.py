from itertools import product

import numpy as np
import pytest

from latency_jax.scores import Scores
from latency_jax.selection import (
    MAX_SHARED,
    Candidate,
    Goal,
    best_single,
    digest,
    file_sizes,
    front,
    only,
    select,
)


def rm(kind, name, accuracy, us=1.0, files=None, single_us=50.0):
    scores = Scores(1 - accuracy, accuracy - 0.1, accuracy, accuracy, accuracy)
    return Candidate(kind, name, scores, us * 1e-6, single_us * 1e-6, files or {kind + name: 100})


def random_candidates(rng, kinds=3, plain=3):
    """Kinds with some RMs of their own, and two networks with parts that all kinds share."""
    candidates = []
    for k in range(kinds):
        for r in range(plain):
            size = {f"k{k}r{r}": int(rng.integers(10, 2000))}
            candidates.append(rm(f"k{k}", f"rm{r}", rng.uniform(0.7, 1), rng.uniform(0.1, 9), size))
        for name, shared in (("net", {"shared": 900}), ("nets", {"big": 2500, "bigger": 300})):
            size = {f"k{k}{name}": int(rng.integers(10, 400)), **shared}
            candidates.append(rm(f"k{k}", name, rng.uniform(0.8, 1), rng.uniform(0.1, 9), size))
    return candidates


def brute_force(candidates, goal, cost):
    """The least cost of all sets whose every RM is near enough to the best of its kind."""
    kinds = sorted({c.kind for c in candidates})
    near = []
    for kind in kinds:
        rms = [c for c in candidates if c.kind == kind]
        best = max(getattr(c.scores, goal.metric) for c in rms)
        near.append([c for c in rms if getattr(c.scores, goal.metric) >= best - goal.tolerance])
    return min(cost(chosen) for chosen in product(*near))


def seconds(chosen):
    return np.mean([c.seconds_per_row for c in chosen])


def size(chosen):
    return sum({digest: n for c in chosen for digest, n in c.files.items()}.values())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.5])
def test_finds_what_trying_every_set_finds(seed, tolerance):
    candidates = random_candidates(np.random.default_rng(seed))
    goal = Goal("time", tolerance)
    fastest = brute_force(candidates, goal, seconds)
    smallest = brute_force(candidates, goal, size)
    assert select(candidates, goal).seconds_per_row == pytest.approx(fastest)
    assert select(candidates, Goal("space", tolerance)).size_bytes == smallest
    for weight in (0.2, 0.8):

        def weighted(chosen, weight=weight):
            return weight * seconds(chosen) / fastest + (1 - weight) * size(chosen) / smallest

        found = select(candidates, Goal("weighted", tolerance, time_weight=weight))
        cost = weight * found.seconds_per_row / fastest + (1 - weight) * found.size_bytes / smallest
        assert cost == pytest.approx(brute_force(candidates, goal, weighted))


def test_a_shared_encoder_is_paid_once():
    shared = {"encoder": 1000}
    candidates = []
    for kind in "abc":
        candidates.append(rm(kind, "tree", 0.9, files={f"{kind} tree": 500}))
        candidates.append(rm(kind, "medn", 0.9, files={f"{kind} own": 100, **shared}))
    found = select(candidates, Goal("space", 0.01))
    assert set(found.names.values()) == {"medn"}
    assert found.size_bytes == 1000 + 3 * 100
    two = [c for c in candidates if c.kind != "c"]  # two kinds: 1,200 of MEDN against 1,000
    assert set(select(two, Goal("space", 0.01)).names.values()) == {"tree"}


def test_without_tolerance_every_kind_has_its_most_accurate():
    candidates = random_candidates(np.random.default_rng(3))
    found = select(candidates, Goal("time", 0.0))
    for kind, name in found.names.items():
        best = max((c for c in candidates if c.kind == kind), key=lambda c: c.scores.accuracy)
        assert name == best.name
    assert found.value >= best_single(candidates, Goal()).value


def test_which_calls_count_and_which_metric():
    candidates = [
        rm("a", "vectorised", 0.9, us=0.1, single_us=90.0),
        rm("a", "plain", 0.9, us=2.0, single_us=5.0),
    ]
    assert select(candidates, Goal("time", calls="batch")).names == {"a": "vectorised"}
    assert select(candidates, Goal("time", calls="single")).names == {"a": "plain"}
    other = candidates[0]._replace(name="other", scores=Scores(0.2, 0.95, 0.8, 0.5, 0.5))
    assert select([*candidates, other], Goal("time", metric="within_10")).names == {"a": "other"}


def test_of_equal_cost_the_more_accurate():
    candidates = [rm("a", "worse", 0.90), rm("a", "better", 0.91)]
    assert select(candidates, Goal("space", 0.05)).names == {"a": "better"}


def test_one_regressor_for_all_kinds():
    candidates = [
        rm("a", "x", 0.9, us=1.0),
        rm("b", "x", 0.7, us=3.0),
        rm("a", "y", 0.8),
        rm("b", "y", 0.85),
        rm("a", "z", 1.0),  # b has none
    ]
    single = best_single(candidates, Goal())
    assert single.names == {"a": "y", "b": "y"}
    assert single.value == pytest.approx(0.825)
    x = only(candidates, "x", Goal())
    assert x.seconds_per_row == pytest.approx(2e-6) and x.size_bytes == 200
    assert only(candidates, "z", Goal()) is None
    with pytest.raises(ValueError, match="fitted for every kind"):
        best_single([candidates[0], candidates[3]], Goal())


@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_not_beaten_and_holds_the_extremes(seed):
    candidates = random_candidates(np.random.default_rng(seed))
    found = front(candidates, Goal())
    costs = np.array([(-s.value, s.seconds_per_row, s.size_bytes) for s in found])
    for own in costs:
        assert not ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()
    assert list(costs[:, 0]) == sorted(costs[:, 0])
    anything = Goal(tolerance=1.0)
    assert found[0].value == pytest.approx(select(candidates, Goal("time", 0.0)).value)
    assert min(costs[:, 1]) == pytest.approx(brute_force(candidates, anything, seconds))
    assert min(costs[:, 2]) == brute_force(candidates, anything, size)


def test_equal_files_are_one():
    sizes = file_sizes({"a": b"same", "b": b"same", "c": b"other"})
    assert sizes == {digest(b"same"): 4, digest(b"other"): 5}


def test_files_that_only_the_regressors_of_one_kind_have_in_common_are_not_shared():
    """As a roofline, which residual regressors keep too: one of them is chosen, and pays."""
    kinds = range(MAX_SHARED + 2)
    candidates = [
        rm(f"k{k}", name, accuracy, files={f"rates{k}": 100, f"{name}{k}": own})
        for k in kinds
        for name, accuracy, own in (("roofline", 0.8, 1), ("residual", 0.9, 50))
    ]
    assert select(candidates, Goal("space", 0.0)).size_bytes == 150 * len(kinds)
    assert select(candidates, Goal("space", 0.2)).size_bytes == 101 * len(kinds)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "fast"}, "mode = 'fast'"),
        ({"calls": "all"}, "calls = 'all'"),
        ({"metric": "mape"}, "metric = 'mape'"),
        ({"tolerance": -0.1}, "tolerance = -0.1"),
        ({"tolerance": float("nan")}, "tolerance = nan"),
        ({"time_weight": 2.0}, "time_weight = 2.0"),
    ],
)
def test_goals_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        Goal(**values)


def test_candidates_that_cannot_be():
    with pytest.raises(ValueError, match="no candidates"):
        select([], Goal())
    undefined = rm("a", "x", 0.9)._replace(scores=Scores(0.1, 0.9, 0.9, np.nan, np.nan))
    with pytest.raises(ValueError, match="r2 of 'x' for kind 'a' is undefined"):
        select([undefined], Goal(metric="r2"))
    many = [
        rm(kind, f"net{n}", 0.9, files={kind: 1, f"shared{n}": 5})
        for n in range(MAX_SHARED + 1)
        for kind in "ab"
    ]
    with pytest.raises(ValueError, match="offer fewer multi-task regressors"):
        select(many, Goal())
