"""Measured partition plans as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latency_jax.partition.model_chain import PlannedModel
from latency_jax.partition.plan import Plan
from latency_jax.partition.regret import Regret


def as_markdown(found: Mapping[str, Sequence[Regret]]) -> str:
    """A row for each model and objective; cuts are the number of parts before them.

    The ms are those of one input for latency, and between two results for throughput.
    """
    lines = [
        "| model | for | chosen cut | measured ms | best cut | best ms | regret | predicted ms |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model, rows in found.items():
        for row in rows:
            chosen, best, predicted = (
                1e3 * plan.cost_s(row.objective) for plan in (row.chosen, row.best, row.predicted)
            )
            lines.append(
                f"| {model} | {row.objective} | {_cut(row.chosen)} | {chosen:.4g} | "
                f"{_cut(row.best)} | {best:.4g} | {100 * row.regret:.1f} % | {predicted:.4g} |"
            )
    return "\n".join(lines)


def as_json(
    planned: PlannedModel, measured: Mapping[int, Plan], rows: Sequence[Regret]
) -> dict[str, Any]:
    """Of one model: its plans by objective, and every split that was measured."""
    chain = planned.chain
    plans = {
        row.objective: {
            "chosen_cut": row.chosen.bounds[1],
            "predicted_s": row.predicted.cost_s(row.objective),
            "measured_s": row.chosen.cost_s(row.objective),
            "best_cut": row.best.bounds[1],
            "best_s": row.best.cost_s(row.objective),
            "regret": row.regret,
        }
        for row in rows
    }
    splits = [
        {
            "cut": cut,
            "first_after": planned.parts.names[cut] if cut < chain.parts else None,
            "bytes": int(chain.cut_bytes[cut]),
            "predicted": _split(chain.plan(plan.bounds)),
            "measured": _split(plan),
        }
        for cut, plan in measured.items()
    ]
    return {"parts": chain.parts, "plans": plans, "splits": splits}


def _split(plan: Plan) -> dict[str, Any]:
    return {
        "latency_s": plan.latency_s,
        "interval_s": plan.interval_s,
        "device_s": plan.device_s,
        "link_s": plan.transfer_s[0],
    }


def _cut(plan: Plan) -> str:
    return f"{plan.bounds[1]} of {plan.bounds[-1]}"
