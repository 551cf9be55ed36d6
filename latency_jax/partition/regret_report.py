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
        "| model | for | predicted ms | chosen cut | measured ms | refined cut | measured ms | "
        "tried | best cut | best ms | regret | refined |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model, rows in found.items():
        for row in rows:
            measured = (
                f"{_cut(plan)} | {1e3 * plan.cost_s(row.objective):.4g}"
                for plan in (row.chosen, row.refined, row.best)
            )
            chosen, refined, best = measured
            lines.append(
                f"| {model} | {row.objective} | {1e3 * row.predicted.cost_s(row.objective):.4g} | "
                f"{chosen} | {refined} | {len(row.tried)} | {best} | {100 * row.regret:.1f} % | "
                f"{100 * row.refined_regret:.1f} % |"
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
            "tried_cuts": row.tried,
            "refined_cut": row.refined.bounds[1],
            "refined_s": row.refined.cost_s(row.objective),
            "best_cut": row.best.bounds[1],
            "best_s": row.best.cost_s(row.objective),
            "regret": row.regret,
            "refined_regret": row.refined_regret,
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
