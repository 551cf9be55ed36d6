"""Scores of bitmap predictors from one mergeable count: a histogram of logits by label.

A `ScoreHistogram` of any rows can be added to that of other rows; every metric of a bitmap
predictor, at every threshold, is a function of it. Bins are 1/64 of a logit wide.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

BINS_PER_LOGIT = 64
LIMIT = 16  # logits beyond +-LIMIT fall into the outermost bins
BINS = 2 * LIMIT * BINS_PER_LOGIT
HALF = BINS // 2  # the bin that begins at logit 0, probability 1/2


class ScoreHistogram(NamedTuple):
    """Counts of bits by logit bin; leading axes (runs) are allowed in front of the bins."""

    negative: np.ndarray  # i64[..., BINS]
    positive: np.ndarray  # i64[..., BINS]

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:  # type: ignore[override]
        return ScoreHistogram(self.negative + other.negative, self.positive + other.positive)

    def run(self, index: int) -> ScoreHistogram:
        return ScoreHistogram(self.negative[index], self.positive[index])


class Score(NamedTuple):
    """Micro-averaged over all bits of all rows, at a threshold."""

    f1: float
    precision: float
    recall: float


def empty_histogram(runs: int) -> ScoreHistogram:
    """A histogram of no bits for `runs` runs."""
    return ScoreHistogram(np.zeros((runs, BINS), np.int64), np.zeros((runs, BINS), np.int64))


def score_histogram(logits: np.ndarray, labels: np.ndarray) -> ScoreHistogram:
    """Counts logits `f32[R, N, D]` of R runs over the same labels, packed `u8[N, D/8]`.

    Raises FloatingPointError for a NaN, which would otherwise pass as a bad score.
    """
    if logits.ndim != 3 or labels.shape != (logits.shape[1], logits.shape[2] // 8):
        raise ValueError(
            f"logits {logits.shape}, labels {labels.shape}: expected [R, N, D] and [N, D/8]"
        )
    histogram = empty_histogram(len(logits))

    def count(run: int) -> bool:
        return _count(logits[run], labels, histogram.negative[run], histogram.positive[run])

    with ThreadPoolExecutor(2) as pool:
        finite = list(pool.map(count, range(len(logits))))
    if not all(finite):
        raise FloatingPointError(
            f"NaN logits in runs {[i for i, ok in enumerate(finite) if not ok]}"
        )
    return histogram


def constant_histogram(logits: np.ndarray, labels: np.ndarray) -> ScoreHistogram:
    """Histogram of a predictor that always says `logits` f[D], over labels packed `u8[N, D/8]`.

    Raises FloatingPointError for a NaN, as `score_histogram` does.
    """
    positive = np.unpackbits(labels, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    return counted_histogram(logits, positive, len(labels))


def counted_histogram(logits: np.ndarray, positive: np.ndarray, rows: int) -> ScoreHistogram:
    """As `constant_histogram`, over `rows` labels of which `positive` i64[D] have each bit set."""
    if np.isnan(logits).any():
        raise FloatingPointError("NaN logits")
    scaled = (logits.astype(np.float64) + LIMIT) * BINS_PER_LOGIT  # f32 may round up a bin
    place = np.clip(scaled, 0, BINS - 1).astype(np.int64)
    histogram = ScoreHistogram(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64))
    np.add.at(histogram.positive, place, positive)
    np.add.at(histogram.negative, place, rows - positive)
    return histogram


@numba.njit(cache=True, nogil=True)
def _count(logits, labels, negative, positive):
    for row in range(logits.shape[0]):
        for bit in range(logits.shape[1]):
            logit = logits[row, bit]
            if logit != logit:
                return False
            place = min(max((logit + LIMIT) * BINS_PER_LOGIT, 0.0), BINS - 1.0)
            if (labels[row, bit >> 3] >> (bit & 7)) & 1:
                positive[int(place)] += 1
            else:
                negative[int(place)] += 1
    return True


def _predicted(histogram: ScoreHistogram) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives `i64[..., BINS]` when all bins from a bin on are predicted."""
    true = np.cumsum(histogram.positive[..., ::-1], axis=-1)[..., ::-1]
    false = np.cumsum(histogram.negative[..., ::-1], axis=-1)[..., ::-1]
    return true, false


def precision_recall(histogram: ScoreHistogram) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall `f64[..., BINS]` when all bins from a bin on are predicted.

    Nothing predicted counts as precision 0, as no positives count as recall 0.
    """
    true, false = _predicted(histogram)
    precision = true / np.maximum(true + false, 1)
    recall = true / np.maximum(true[..., :1], 1)
    return precision, recall


def f1_curve(histogram: ScoreHistogram) -> np.ndarray:
    """Micro-F1 at every threshold, `f64[..., BINS]`."""
    true, false = _predicted(histogram)
    # One division of whole numbers: thresholds of equal F1 compare equal.
    return 2 * true / np.maximum(true + false + true[..., :1], 1)


def best_threshold(histogram: ScoreHistogram) -> int:
    """The bin from which on predicting gives the best F1; the highest such bin."""
    curve = f1_curve(histogram)
    return int(len(curve) - 1 - np.argmax(curve[::-1]))


def score_at(histogram: ScoreHistogram, threshold_bin: int) -> Score:
    """F1, precision and recall when the bins from `threshold_bin` on are predicted."""
    precision, recall = precision_recall(histogram)
    f1 = f1_curve(histogram)
    return Score(
        float(f1[threshold_bin]), float(precision[threshold_bin]), float(recall[threshold_bin])
    )


def average_precision(histogram: ScoreHistogram) -> float:
    """Area under precision over recall, by steps: sum of P(t) * (R(t) - R(t + 1 bin))."""
    precision, recall = precision_recall(histogram)
    return float(np.sum(precision * -np.diff(recall, append=0.0)))


def threshold_probability(threshold_bin: int) -> float:
    """The probability at which a threshold bin begins."""
    return float(1 / (1 + np.exp(LIMIT - threshold_bin / BINS_PER_LOGIT)))
