"""Scores out of the histogram against scikit-learn on the bits themselves."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from packd_jax import metrics
from packd_jax.metrics import BINS, BINS_PER_LOGIT, HALF, LIMIT, ScoreHistogram


def draw(seed=0, runs=3, rows=200, bits=16):
    """Logits that know something about the labels: f32[R, N, D], packed u8[N, D/8], bits."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, bits)) < 0.2
    logits = 3 * rng.standard_normal((runs, rows, bits)) + 2 * truth - 2
    return logits.astype(np.float32), np.packbits(truth, axis=1, bitorder="little"), truth


@pytest.mark.parametrize("threshold_bin", [HALF, 0, HALF - 100, HALF + 237, BINS - 1])
def test_scores_at_a_threshold_are_those_of_scikit_learn(threshold_bin):
    logits, labels, truth = draw()
    histogram = metrics.score_histogram(logits, labels)
    edge = threshold_bin / BINS_PER_LOGIT - LIMIT
    for run in range(3):
        predicted = logits[run] >= edge if threshold_bin else np.ones_like(truth)
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth.ravel(), predicted.ravel(), average="binary", zero_division=0
        )
        score = metrics.score_at(histogram.run(run), threshold_bin)
        np.testing.assert_allclose(score, (f1, precision, recall), rtol=1e-12)


def test_average_precision_is_that_of_scikit_learn():
    logits, labels, truth = draw(1)
    histogram = metrics.score_histogram(logits, labels)
    for run in range(3):
        score = metrics.average_precision(histogram.run(run))
        binned = np.floor((logits[run].astype(np.float64) + LIMIT) * BINS_PER_LOGIT)
        exact = average_precision_score(truth.ravel(), binned.ravel())
        np.testing.assert_allclose(score, exact, rtol=1e-12)
        unbinned = average_precision_score(truth.ravel(), logits[run].ravel())
        assert abs(score - unbinned) < 2e-3


def test_bins_hold_what_they_say():
    values = np.array([-1e30, -16.0, -0.001, 0.0, 1 / 64, 15.999, 16.0, np.inf], np.float32)
    histogram = metrics.score_histogram(values.reshape(1, 1, 8), np.array([[0b10101010]], np.uint8))
    negative, positive = (np.flatnonzero(h[0]).tolist() for h in histogram)
    assert negative == [0, HALF - 1, HALF + 1, BINS - 1]
    assert positive == [0, HALF, BINS - 1]
    assert histogram.positive[0, BINS - 1] == 2  # 15.999 and infinity
    assert metrics.threshold_probability(HALF) == 0.5
    np.testing.assert_allclose(
        metrics.threshold_probability(HALF + 2 * BINS_PER_LOGIT), 1 / (1 + np.exp(-2))
    )


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 20))
def test_merged_histograms_are_the_histogram_of_all_rows(seed, cut):
    logits, labels, _ = draw(seed, runs=2, rows=20)
    whole = metrics.score_histogram(logits, labels)
    parts = [
        metrics.score_histogram(logits[:, part], labels[part])
        for part in (slice(0, cut), slice(cut, 20))
    ]
    merged = metrics.empty_histogram(2) + parts[0] + parts[1]
    for a, b in zip(merged, whole):
        assert a.dtype == np.int64
        np.testing.assert_array_equal(a, b)


counts = st.lists(
    st.tuples(st.integers(0, BINS - 1), st.integers(0, 50), st.integers(0, 50)), max_size=12
)


@settings(max_examples=100)
@example([(0, 20, 0), (0, 50, 20), (1, 30, 0), (1, 50, 40)])  # 80 / 180 and 120 / 270
@given(counts)
def test_the_best_threshold_is_the_best_and_the_highest(entries):
    histogram = ScoreHistogram(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64))
    for place, negative, positive in entries:
        histogram.negative[place] += negative
        histogram.positive[place] += positive
    best, best_place, true, false = Fraction(0), BINS - 1, 0, 0
    for place in sorted({place for place, _, _ in entries}, reverse=True):  # F1 changes there
        true += int(histogram.positive[place])
        false += int(histogram.negative[place])
        positives = int(histogram.positive.sum())
        f1 = Fraction(2 * true, max(true + false + positives, 1))
        if f1 > best:
            best, best_place = f1, place
    assert metrics.best_threshold(histogram) == best_place
    np.testing.assert_allclose(metrics.score_at(histogram, best_place).f1, float(best))
    np.testing.assert_allclose(metrics.f1_curve(histogram).max(), float(best))


def test_scores_without_predictions_or_positives_are_zero():
    nothing = metrics.empty_histogram(1).run(0)
    assert metrics.score_at(nothing, HALF) == (0.0, 0.0, 0.0)
    assert metrics.average_precision(nothing) == 0.0
    logits = np.full((1, 4, 8), -3, np.float32)
    all_positive = metrics.score_histogram(logits, np.full((4, 1), 255, np.uint8)).run(0)
    assert metrics.score_at(all_positive, HALF) == (0.0, 0.0, 0.0)
    assert metrics.score_at(all_positive, 0) == (1.0, 1.0, 1.0)


@settings(max_examples=30)
@given(st.lists(st.floats(-20, 20, width=32), min_size=8, max_size=8), st.integers(0, 99))
def test_a_constant_predictor_scores_like_its_logits_repeated(constant, seed):
    labels = np.random.default_rng(seed).integers(0, 256, (11, 1), dtype=np.uint8)
    for logits in (np.array(constant, np.float32), np.array(constant, np.float64)):
        repeated = metrics.score_histogram(np.tile(logits, (1, 11, 1)), labels).run(0)
        for a, b in zip(metrics.constant_histogram(logits, labels), repeated):
            np.testing.assert_array_equal(a, b)


def test_a_constant_logit_just_below_a_bin_stays_below_it():
    below = np.nextafter(np.float32(1 / 64), np.float32(0))
    histogram = metrics.constant_histogram(np.full(8, below), np.zeros((2, 1), np.uint8))
    assert np.flatnonzero(histogram.negative).tolist() == [HALF]


def test_nan_is_an_error_that_names_the_run():
    logits, labels, _ = draw()
    logits[1, 7, 3] = np.nan
    with pytest.raises(FloatingPointError, match=r"runs \[1\]"):
        metrics.score_histogram(logits, labels)
    with pytest.raises(FloatingPointError, match="NaN"):
        metrics.constant_histogram(logits[1, 7], labels)


def test_shapes_that_do_not_fit_are_refused():
    logits, labels, _ = draw()
    for bad in (logits[0], logits[:, 1:], logits[:, :, 8:]):
        with pytest.raises(ValueError, match=r"expected \[R, N, D\] and \[N, D/8\]"):
            metrics.score_histogram(bad, labels)
