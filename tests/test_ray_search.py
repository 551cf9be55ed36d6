"""Optuna's draws: different points, better ones with time, and the same state after a restart."""

import json

import pytest

pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")
pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'packd-jax[ray]'")

from ray.tune.search import Searcher

from packd_jax.ray_search import DistinctTPE

AXES = {"a.width": (1, 2, 4, 8), "alphas": (((0.1,),), ((0.5,), (0.2, 0.8))), "rate": (1e-3, 1e-2)}


def seen(score, evaluation=3, finished=True):
    return {"validation_f1": score, "evaluation": evaluation, "finished": finished}


def draw(searcher, names, score):
    """Draws and finishes trials one after another; their points."""
    points = []
    for name in names:
        suggested = searcher.suggest(name)
        if suggested == Searcher.FINISHED:
            break
        points.append(json.loads(suggested["point"]))
        searcher.on_trial_result(name, seen(score(points[-1]), 1, False))
        searcher.on_trial_complete(name, seen(score(points[-1])))
    return points


def flat(point):
    return json.dumps(point, sort_keys=True)


def test_all_points_are_drawn_once_and_then_none():
    points = draw(DistinctTPE(AXES, 99, seed=0), map(str, range(99)), lambda point: 0.5)
    assert len(points) == len({flat(p) for p in points}) == 16
    assert {p["a.width"] for p in points} == {1, 2, 4, 8}
    assert [p["alphas"] for p in points].count([[0.5], [0.2, 0.8]]) == 8


def test_no_more_than_asked_for_and_the_seed_decides():
    some = [draw(DistinctTPE(AXES, 5, seed), "abcdefg", lambda p: p["rate"]) for seed in (0, 0, 1)]
    assert len(some[0]) == 5 and some[0] == some[1] != some[2]


def test_draws_follow_what_was_good():
    axes = {"x": tuple(range(12)), "y": tuple(range(12))}

    def score(point):
        return 1 - abs(point["x"] - 3) / 12 - abs(point["y"] - 7) / 12

    for seed in range(3):
        found = [score(p) for p in draw(DistinctTPE(axes, 30, seed), range(30), score)]
        assert max(found) == 1  # in 30 of 144 points
        assert sum(found[10:]) / 20 > 0.55  # .44 is the mean of all points


def test_only_numbers_in_order_are_near_each_other():
    kinds = {
        name: type(space).__name__[:3]
        for name, space in DistinctTPE(
            {"up": (1, 2, 0x10), "down": (0.1, 1e-3), "mixed": (2, 1, 3), "yes": (False, True)}
            | {"names": ("a", "b"), "lists": ((1,), (2,))},
            9,
            seed=0,
        )._space.items()
    }
    ordered = {name for name, kind in kinds.items() if kind == "Int"}
    assert ordered == {"up", "down"} and set(kinds.values()) == {"Int", "Cat"}


def test_trials_may_fail_be_stopped_or_be_told_twice():
    searcher = DistinctTPE(AXES, 9, seed=0)
    for name in "abcd":
        searcher.suggest(name)
    searcher.on_trial_complete("a", error=True)
    searcher.on_trial_result("b", seen(0.3, 1, False))
    searcher.on_trial_result("b", seen(0.3, 1, False))  # by a second attempt
    searcher.on_trial_complete("b", seen(0.3, 1, False))  # by ASHA
    searcher.on_trial_complete("c", seen(0.7))
    searcher.on_trial_result("a", seen(0.3, 1, False))  # one that failed is tried again
    searcher.on_trial_complete("a", seen(0.9))
    assert [t.state.name for t in searcher._study.trials] == [
        "FAIL",
        "PRUNED",
        "COMPLETE",
        "RUNNING",
    ]
    assert searcher._study.best_value == 0.7


def test_a_restored_search_goes_on(tmp_path):
    searcher = DistinctTPE(AXES, 10, seed=3)
    before = draw(searcher, "abc", lambda point: 1 / point["a.width"])
    open_one = json.loads(searcher.suggest("open")["point"])
    searcher.on_trial_result("open", seen(0.25, 1, False))
    searcher.save(str(tmp_path / "state.json"))

    found = []
    for _ in range(2):
        again = DistinctTPE(AXES, 10, seed=3)
        again.restore(str(tmp_path / "state.json"))
        assert again._study.best_value == searcher._study.best_value
        again.on_trial_complete("open", seen(0.5))
        found.append(draw(again, map(str, range(20)), lambda point: 0.1))
    assert found[0] == found[1] and len(found[0]) == 6
    assert len({flat(p) for p in [*before, open_one, *found[0]]}) == 10
