"""Whole models measured and predicted, and the correction that follows: each left out once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    measured_s: float
    naive_s: float  # its modules in isolation
    fused_s: float  # its fused calls, without a correction
    predicted_s: float  # corrected by what was fitted to the other models
    low_s: float
    high_s: float
    flops: float
    weight_bytes: int
    in_domain: float  # share of the fused latency that the latency model has seen the like of


def correction_study(
    latency_model: Predictor, measured: Mapping[WholeModel, float]
) -> tuple[CorrectionFit, list[StudyRow]]:
    """Predicts what was measured, fits the correction, and leaves each model out once.

    Intervals are those of the correction, around what was fitted to the others. Raises
    ValueError for fewer than two models.
    """
    terms, plain = [], []
    for model in measured:
        graph = capture(make_model(model.factory), model.shapes(), latency_model.kinds)
        terms.append(model_terms(latency_model, graph))
        plain.append((graph, predict_model(_Uncorrected(latency_model), graph)))
    names = [model.factory for model in measured]  # batch sizes of a model are left out together
    fit = fit_correction(names, terms, np.array(list(measured.values())))
    low_s, high_s = fit.correction.interval.bounds(fit.left_out_s)
    rows = []
    for i, ((model, latency_s), (graph, found)) in enumerate(zip(measured.items(), plain)):
        known_s = sum(call.latency_s for call in found.calls if call.in_domain)
        rows.append(
            StudyRow(
                model.factory.removeprefix("experiments.models."),
                model.batch_size,
                latency_s,
                found.naive_s,
                found.latency_s,
                float(fit.left_out_s[i]),
                float(low_s[i]),
                float(high_s[i]),
                graph.flops,
                graph.weight_bytes,
                known_s / found.latency_s,
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
        "| model | batch | measured ms | predicted ms | error | fused sum | naive sum | known |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        error, fused, naive = (f"{100 * e:+.1f} %" for e in errors(row).values())
        mark = "" if row.low_s <= row.measured_s <= row.high_s else " *"
        lines.append(
            f"| {row.name} | {row.batch_size} | {1e3 * row.measured_s:.4g} | "
            f"{1e3 * row.predicted_s:.4g}{mark} | {error} | {fused} | {naive} | "
            f"{100 * row.in_domain:.0f} % |"
        )
    error, fused, naive = (f"{100 * e:.1f} %" for e in median_errors(rows).values())
    lines.append(f"| median, without sign | | | | {error} | {fused} | {naive} | |")
    return "\n".join(lines)


def errors(row: StudyRow) -> dict[str, float]:
    """Relative errors with their sign."""
    predictions = {"predicted": row.predicted_s, "fused": row.fused_s, "naive": row.naive_s}
    return {name: seconds / row.measured_s - 1 for name, seconds in predictions.items()}


def median_errors(rows: Sequence[StudyRow]) -> Mapping[str, Any]:
    """Medians of the relative errors without their sign."""
    columns = [errors(row) for row in rows]
    return {name: median(abs(c[name]) for c in columns) for name in columns[0]}
