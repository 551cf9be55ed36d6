import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_percentage_error, r2_score

from latency_jax.scores import Scores, overall, score

seconds = st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=20).map(np.array)


def test_hand_counted():
    scores = score(np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.05, 3.0, 4.0, 20.0]))
    assert scores.mape == pytest.approx((0.05 + 0.5 + 0 + 1.5) / 4)
    assert scores.within_10 == 0.5
    assert scores.accuracy == pytest.approx((0.95 + 0.5 + 1 + 0) / 4)


def test_ten_percent_is_within_ten_percent():
    assert score(np.array([10.0]), np.array([11.0])).within_10 == 1
    assert score(np.array([10.0]), np.array([11.001])).within_10 == 0


@given(seconds, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_as_scikit_learn_counts(measured, random):
    predicted = measured * np.array([random.uniform(0.5, 2) for _ in measured])
    scores = score(measured, predicted)
    assert scores.mape == pytest.approx(mean_absolute_percentage_error(measured, predicted))
    if measured.std() > 1e-3 * measured.mean():
        assert scores.r2 == pytest.approx(r2_score(measured, predicted))
        assert scores.r2_log == pytest.approx(r2_score(np.log(measured), np.log(predicted)))


def test_no_spread_has_no_r2():
    scores = score(np.ones(3), np.full(3, 1.5))
    assert np.isnan(scores.r2) and np.isnan(scores.r2_log) and scores.mape == 0.5


@pytest.mark.parametrize(
    ("measured", "predicted", "message"),
    [
        (np.ones(3), np.ones(2), r"measured \(3,\), predicted \(2,\)"),
        (np.ones((3, 1)), np.ones((3, 1)), r"expected two of \[N\]"),
        (np.ones(0), np.ones(0), r"N > 0"),
        (np.array([1.0, 0.0]), np.ones(2), r"measured, row 1: 0.0"),
        (np.ones(2), np.array([np.nan, 1]), r"predicted, row 0: nan"),
    ],
)
def test_bad_input(measured, predicted, message):
    with pytest.raises(ValueError, match=message):
        score(measured, predicted)


def test_overall_is_macro_and_by_rows():
    scores = {"a": Scores(0.1, 1.0, 0.9, 0.8, 0.7), "b": Scores(0.3, 0.0, 0.5, 0.4, 0.3)}
    macro, weighted = overall(scores, {"a": 30, "b": 10})
    np.testing.assert_allclose(macro, [0.2, 0.5, 0.7, 0.6, 0.5])
    np.testing.assert_allclose(weighted, [0.15, 0.75, 0.8, 0.7, 0.6])
    with pytest.raises(ValueError, match="expected the same"):
        overall(scores, {"a": 30})
