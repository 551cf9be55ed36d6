"""A predicted model as JSON, and that as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latency_jax.whole_model.graph import Graph
from latency_jax.whole_model.predict import ModelLatency
from packd_jax.json_files import plain_json

_WIDTH = 56  # of names


def as_json(predicted: ModelLatency, graph: Graph, about: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds, FLOPs and bytes of the whole and of each call, after what `about` says of it.

    `about["measured_s"]`, where it is not None, is held against the prediction.
    """
    measured_s = about.get("measured_s")
    report = {
        **about,
        "latency_s": predicted.latency_s,
        "low_s": predicted.low_s,
        "high_s": predicted.high_s,
        "naive_s": predicted.naive_s,
        "error": None if measured_s is None else predicted.latency_s / measured_s - 1,
        "naive_error": None if measured_s is None else predicted.naive_s / measured_s - 1,
        "flops": graph.flops,
        "weight_bytes": graph.weight_bytes,
        "warnings": predicted.warnings,
        "calls": [
            {
                "name": c.call.name,
                "kind": c.call.kind,
                "runs": c.call.runs,
                "values": c.call.values,
                "flops": c.call.flops * c.call.runs,
                "latency_s": c.latency_s,
                "low_s": c.low_s,
                "high_s": c.high_s,
                "in_domain": c.in_domain,
            }
            for c in predicted.calls
        ],
    }
    return plain_json(report, finite=True)


def as_text(report: Mapping[str, Any]) -> str:
    """A table of `as_json`: a line for each call, then the totals."""
    lines = [f"{'call':{_WIDTH}} {'kind':24} {'runs':>5} {'ms':>9}   90 % interval"]
    for call in report["calls"]:
        name = call["name"]
        if len(name) > _WIDTH:  # its end tells calls apart
            name = "…" + name[1 - _WIDTH :]
        mark = "" if call["in_domain"] else "  ?"
        lines.append(
            f"{name:{_WIDTH}} {call['kind']:24} {call['runs']:>5} {_ms(call['latency_s']):>9}   "
            f"{_between(call)}{mark}"
        )
    if not all(call["in_domain"] for call in report["calls"]):
        lines.append("? beyond what the latency model was trained on")
    lines.append("")
    lines.append(f"predicted     {_ms(report['latency_s']):>9} ms   {_between(report)}")
    lines.append(f"naive sum     {_ms(report['naive_s']):>9} ms   of isolated modules")
    if report["measured_s"] is not None:
        lines.append(
            f"measured      {_ms(report['measured_s']):>9} ms   predicted {report['error']:+.1%}, "
            f"naive sum {report['naive_error']:+.1%}"
        )
    lines.append(
        f"{report['flops'] / 1e9:.3g} GFLOPs, {report['weight_bytes'] / 1e6:.3g} MB of weights"
    )
    return "\n".join(lines)


def _between(row: Mapping[str, Any]) -> str:
    high = "?" if row["high_s"] is None else _ms(row["high_s"])
    return f"{_ms(row['low_s'])} to {high}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"
