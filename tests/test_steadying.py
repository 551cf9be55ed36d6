import numpy as np
import pytest

from latency_jax.scores import Scores, score
from latency_jax.selection import Candidate
from latency_jax.steadying import halves, steadied

KINDS, NAMES = 14, 12
NOISE = 0.04  # of a half


def scores(value):
    return Scores(1 - value, value, value, value, value)


def candidate(kind, name, value):
    return Candidate(f"k{kind}", f"r{name}", scores(value), 1e-6, 5e-5, {f"{kind}{name}": 100})


def draw(rng, own):
    """(true values f64[K, R] of which `own` is neither the kind's nor the regressor's, halves)."""
    true = 0.7 + rng.normal(0, 0.1, (KINDS, 1)) + rng.normal(0, 0.03, NAMES)
    true = true + rng.normal(0, own, (KINDS, NAMES))
    return true, true + rng.normal(0, NOISE, (2, KINDS, NAMES))


def grids(true, both):
    """(validation values f64[K, R], the same steadied)."""
    at = [(k, r) for k in range(KINDS) for r in range(NAMES)]
    whole = both.mean(axis=0)
    found = steadied(
        [candidate(k, r, whole[k, r]) for k, r in at],
        [(scores(both[0, k, r]), scores(both[1, k, r])) for k, r in at],
    )
    assert [(c.kind, c.name) for c in found] == [(f"k{k}", f"r{r}") for k, r in at]
    return whole, np.reshape([c.scores.accuracy for c in found], (KINDS, NAMES))


@pytest.mark.parametrize("own", [0.0, 0.01, 0.03, 0.1])
def test_what_is_chosen_by_steady_scores_is_better(own):
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(100):
        true, both = draw(rng, own)
        whole, steady = grids(true, both)
        chosen = [true[np.arange(KINDS), grid.argmax(axis=1)].mean() for grid in (steady, whole)]
        gains.append(chosen[0] - chosen[1])
    assert np.mean(gains) > (0.005 if own <= 0.01 else -5e-4)


def test_means_stay_and_the_rest_shrinks_by_what_does_not_repeat():
    rng = np.random.default_rng(2)
    for own, share in ((0.0, 0.0), (0.4, 1.0)):
        whole, steady = grids(*draw(rng, own))
        np.testing.assert_allclose(steady.mean(axis=0), whole.mean(axis=0))
        np.testing.assert_allclose(steady.mean(axis=1), whole.mean(axis=1))

        def beyond(grid):
            mean = grid.mean(axis=0) + grid.mean(axis=1, keepdims=True) - grid.mean()
            return np.linalg.norm(grid - mean)

        assert beyond(steady) / beyond(whole) == pytest.approx(share, abs=0.25)


def test_one_kind_or_one_regressor_stays_as_it_is():
    half = (scores(0.5), scores(0.9))
    for at in ([(0, r) for r in range(5)], [(k, 0) for k in range(5)]):
        given = [candidate(k, r, 0.7 + 0.01 * (k + r)) for k, r in at]
        assert steadied(given, [half] * 5) == given


def test_undefined_scores_stay_undefined_and_disturb_no_others():
    true, both = draw(np.random.default_rng(3), 0.05)
    _, expected = grids(true, both)
    both = both.copy()
    both[0, 3, 4] = np.nan
    whole, steady = grids(true, both)
    assert np.isnan(whole[3, 4]) and np.isnan(steady).sum() == 1
    assert np.isnan(steady[3, 4])
    np.testing.assert_allclose(np.delete(steady, 3, 0), np.delete(expected, 3, 0), atol=0.02)


def test_a_regressor_that_some_kinds_cannot_have():
    at = [(k, r) for k in range(6) for r in range(4) if (k, r) != (2, 3)]
    rng = np.random.default_rng(4)
    given = [candidate(k, r, rng.random()) for k, r in at]
    both = [(scores(rng.random()), scores(rng.random())) for _ in at]
    found = steadied(given, both)
    assert len(found) == 23 and np.isfinite([c.scores for c in found]).all()


def test_halves_are_the_even_and_the_odd_rows():
    measured, predicted = np.arange(1.0, 8.0), np.arange(1.0, 8.0) * [1, 2, 1, 3, 1, 2, 1]
    even, odd = halves(measured, predicted)
    assert even.mape == 0 and odd == score(measured[1::2], predicted[1::2])
    assert odd.mape == pytest.approx(4 / 3)
    alone = halves(measured[:1], predicted[:1])
    assert alone[0].mape == alone[1].mape == 0
