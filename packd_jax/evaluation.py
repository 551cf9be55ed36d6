"""Stacked networks judged on examples: score histograms, from which every metric follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from packd_jax import ensemble, metrics
from packd_jax.example_source import ExampleSource, pieces, row_pieces

Tree = Any


def evaluate(
    model: Any,
    variables: Tree,
    examples: ExampleSource,
    rows: Sequence[np.ndarray] | None = None,
) -> metrics.ScoreHistogram:
    """Score histogram of each of R stacked networks, on all examples or on `rows` by run."""
    count = len(jax.tree.leaves(variables)[0])
    histogram = metrics.empty_histogram(count)
    if rows is None:
        for _, piece in pieces(examples):
            for part, logits in ensemble.predict(model, variables, piece.inputs):
                histogram = histogram + metrics.score_histogram(logits, piece.labels[part])
        return histogram
    for run in range(count):
        one = jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], variables)
        alone = metrics.empty_histogram(1)
        for some in row_pieces(examples, rows[run]):
            alone = alone + evaluate(model, one, examples.take(some))
        histogram.negative[run], histogram.positive[run] = alone.negative[0], alone.positive[0]
    return histogram


def evaluate_groups(
    model: Any, variables: Tree, examples: ExampleSource, group: np.ndarray, count: int
) -> list[metrics.ScoreHistogram]:
    """As `evaluate`, one histogram for the rows of each of `count` groups (`group` u8[N])."""
    histograms = [metrics.empty_histogram(len(jax.tree.leaves(variables)[0]))] * count
    for rows, piece in pieces(examples):
        groups = group[rows]
        for part, logits in ensemble.predict(model, variables, piece.inputs):
            labels, own = piece.labels[part], groups[part]
            for g in np.unique(own):
                more = metrics.score_histogram(logits[:, own == g], labels[own == g])
                histograms[g] = histograms[g] + more
    return histograms
