"""Whole models measured and predicted, and the correction that follows: each left out once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.correction import CorrectionFit, fit_correction
from latency_jax.whole_model.measured_model import WholeModel
from latency_jax.whole_model.named_model import make_model
from latency_jax.whole_model.predict import Predictor, model_terms, predict_model


class StudyRow(NamedTuple):
    """What a latency model says of a measured model."""

    name: str
    batch_size: int
    measured_s: float  # geometric mean of two measurements
    again: float  # how much longer it took the second time, a share
    naive_s: float  # its modules in isolation
    fused_s: float  # its fused calls, without a correction
    predicted_s: float  # corrected by what was fitted to the other models
    low_s: float
    high_s: float
    flops: float
    weight_bytes: int
    in_domain: float  # share of the fused latency that the latency model has seen the like of
    is_fitted: bool = True  # False: the correction is fitted to no batch size of it at all


def correction_study(
    latency_model: Predictor,
    measured: Mapping[WholeModel, tuple[float, float]],
    unseen: Collection[str] = (),
) -> tuple[CorrectionFit, list[StudyRow]]:
    """Predicts what was measured twice, fits the correction, and leaves each model out once.

    Models whose factories are `unseen` are predicted alone. Intervals are those of the
    correction, around what was fitted to the others. Raises ValueError for fewer than two models
    to fit to.
    """
    terms, plain = [], []
    for model in measured:
        graph = capture(make_model(model.factory), model.shapes(), latency_model.kinds)
        terms.append(model_terms(latency_model, graph))
        plain.append((graph, predict_model(_Uncorrected(latency_model), graph)))
    names = [model.factory for model in measured]  # batch sizes of a model are left out together
    fitted = [i for i, name in enumerate(names) if name not in unseen]
    both = np.array(list(measured.values()))
    seconds = np.sqrt(both.prod(axis=1))
    fit = fit_correction([names[i] for i in fitted], [terms[i] for i in fitted], seconds[fitted])
    predicted_s = np.array([fit.correction.apply(of_model).sum() for of_model in terms])
    predicted_s[fitted] = fit.left_out_s
    low_s, high_s = fit.correction.interval.bounds(predicted_s)
    rows = []
    for i, (model, (graph, found)) in enumerate(zip(measured, plain)):
        known_s = sum(call.latency_s for call in found.calls if call.in_domain)
        rows.append(
            StudyRow(
                model.factory.removeprefix("experiments.models."),
                model.batch_size,
                float(seconds[i]),
                float(both[i, 1] / both[i, 0] - 1),
                found.naive_s,
                found.latency_s,
                float(predicted_s[i]),
                float(low_s[i]),
                float(high_s[i]),
                graph.flops,
                graph.weight_bytes,
                known_s / found.latency_s,
                i in fitted,
            )
        )
    return fit, rows


class _Uncorrected:
    """A latency model without what whole models take beside their modules."""

    correction = None

    def __init__(self, model: Predictor) -> None:
        self.kinds = model.kinds
        self.predict = model.predict


def as_markdown(rows: Sequence[StudyRow]) -> str:
    """A table with errors in %, and their medians; a measurement outside its interval has a *."""
    lines = [
        "| model | batch | measured ms | again | predicted ms | error | fused sum | naive sum "
        "| known |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        error, fused, naive = (f"{100 * e:+.1f} %" for e in errors(row).values())
        mark = "" if row.low_s <= row.measured_s <= row.high_s else " *"
        lines.append(
            f"| {row.name} | {row.batch_size} | {1e3 * row.measured_s:.4g} | "
            f"{100 * row.again:+.1f} % | "
            f"{1e3 * row.predicted_s:.4g}{mark} | {error} | {fused} | {naive} | "
            f"{100 * row.in_domain:.0f} % |"
        )
    for what, is_fitted in (("others fitted", True), ("none fitted", False)):
        of_these = [row for row in rows if row.is_fitted == is_fitted]
        if of_these:
            medians = (
                median(abs(row.again) for row in of_these),
                *median_errors(of_these).values(),
            )
            again, error, fused, naive = (f"{100 * each:.1f} %" for each in medians)
            lines.append(f"| median size, {what} | | | {again} | | {error} | {fused} | {naive} | |")
    return "\n".join(lines)


def errors(row: StudyRow) -> dict[str, float]:
    """Relative errors with their sign."""
    predictions = {"predicted": row.predicted_s, "fused": row.fused_s, "naive": row.naive_s}
    return {name: seconds / row.measured_s - 1 for name, seconds in predictions.items()}


def median_errors(rows: Sequence[StudyRow]) -> Mapping[str, Any]:
    """Medians of the relative errors without their sign."""
    columns = [errors(row) for row in rows]
    return {name: median(abs(c[name]) for c in columns) for name in columns[0]}
