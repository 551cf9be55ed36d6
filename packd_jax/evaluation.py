"""Stacked networks judged on examples: score histograms, from which every metric follows.

Several processes that run together judge a part of the rows each, and add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from packd_jax import ensemble, metrics, processes
from packd_jax.example_source import ExampleSource, pieces, row_pieces
from packd_jax.features import Examples

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
        for _, piece in pieces(examples, within=_share(examples)):
            histogram = histogram + _judged(model, variables, piece)
        return _added_up(histogram)
    for run in range(count):
        one = jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], variables)
        alone = metrics.empty_histogram(1)
        for some in row_pieces(examples, rows[run][processes.share(len(rows[run]))]):
            alone = alone + _judged(model, one, examples.take(some))
        histogram.negative[run], histogram.positive[run] = alone.negative[0], alone.positive[0]
    return _added_up(histogram)


def _share(examples: ExampleSource) -> slice | None:
    return None if processes.count() == 1 else processes.share(examples.rows)


def _judged(model: Any, variables: Tree, examples: Examples) -> metrics.ScoreHistogram:
    """All of the examples, by this process."""
    histogram = metrics.empty_histogram(len(jax.tree.leaves(variables)[0]))
    for part, logits in ensemble.predict(model, variables, examples.inputs):
        histogram = histogram + metrics.score_histogram(logits, examples.labels[part])
    return histogram


def _added_up(histogram: metrics.ScoreHistogram) -> metrics.ScoreHistogram:
    """The counts of all processes."""
    return metrics.ScoreHistogram(*processes.gather(np.stack(histogram)).sum(axis=0))


def evaluate_groups(
    model: Any, variables: Tree, examples: ExampleSource, group: np.ndarray, count: int
) -> list[metrics.ScoreHistogram]:
    """As `evaluate`, one histogram for the rows of each of `count` groups (`group` u8[N])."""
    histograms = [metrics.empty_histogram(len(jax.tree.leaves(variables)[0]))] * count
    for rows, piece in pieces(examples, within=_share(examples)):
        groups = group[rows]
        for part, logits in ensemble.predict(model, variables, piece.inputs):
            labels, own = piece.labels[part], groups[part]
            for g in np.unique(own):
                more = metrics.score_histogram(logits[:, own == g], labels[own == g])
                histograms[g] = histograms[g] + more
    return [_added_up(histogram) for histogram in histograms]
