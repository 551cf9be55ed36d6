"""What the rows of a study say: means with intervals, and paired differences between arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

PAIRS = (
    ("kd", "no_kd"),
    ("packd", "no_kd"),
    ("packd", "kd"),
    ("packd", "packd_random"),
    ("packd", "kd_budget"),
    ("cluster_input", "no_kd"),
    ("cluster_input_kd", "cluster_input"),
    ("cluster_input_kd", "kd"),
)


class Interval(NamedTuple):
    """A mean and the half-width of its 95 % Student-t interval (NaN below two values)."""

    mean: float
    half_width: float


def interval(values: Iterable[float]) -> Interval:
    """Mean and 95 % interval of independent values."""
    values = np.asarray(list(values), np.float64)
    if len(values) < 2:
        return Interval(float(values.mean()), float("nan"))
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * error))


def by_arm(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[tuple[str, str], Interval]:
    """The metric's interval over seeds for each (entry, arm), in the rows' order."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        groups.setdefault((row["entry"], row["arm"]), []).append(row[metric])
    return {key: interval(values) for key, values in groups.items()}


def paired_differences(
    rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]] = PAIRS
) -> list[dict[str, Any]]:
    """F1 of one arm minus that of another with the same seed, for each entry and pair.

    `relative` is the difference over the second arm's mean, in the same interval.
    """
    differences = []
    for entry in dict.fromkeys(row["entry"] for row in rows):
        f1 = {(r["arm"], r["seed"]): r["f1"] for r in rows if r["entry"] == entry}
        for first, second in pairs:
            seeds = [s for arm, s in f1 if arm == first and (second, s) in f1]
            if not seeds:
                continue
            base = float(np.mean([f1[second, s] for s in seeds]))
            mean, half = interval([f1[first, s] - f1[second, s] for s in seeds])
            scale = base if base > 0 else float("nan")
            differences.append(
                {
                    "entry": entry,
                    "first": first,
                    "second": second,
                    "seeds": len(seeds),
                    "difference": mean,
                    "half_width": half,
                    "relative": mean / scale,
                    "relative_half_width": half / scale,
                }
            )
    return differences


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The study as text: one line per (entry, arm), means over seeds, +- 95 % intervals."""
    columns = ("f1", "precision", "recall", "average_precision", "f1_at_half")
    numbers = {column: by_arm(rows, column) for column in columns}
    lines = [
        f"{'entry':<18} {'arm':<17} {'params':>8} {'bytes':>9} {'F1':>15} {'prec.':>7} "
        f"{'recall':>7} {'AP':>7} {'F1@.5':>7} {'steps':>7}"
    ]
    for key in numbers["f1"]:
        some = next(r for r in rows if (r["entry"], r["arm"]) == key)
        f1, half = numbers["f1"][key]
        spread = " " * 9 if np.isnan(half) else f" ± {half:.4f}"
        lines.append(
            f"{key[0]:<18} {key[1]:<17} {some['params']:>8,} {some['bytes']:>9,} {f1:.4f}{spread} "
            + " ".join(f"{numbers[c][key].mean:>7.4f}" for c in columns[1:])
            + f" {some['steps']:>7,}"
        )
    return "\n".join(lines)


def differences_table(differences: Sequence[Mapping[str, Any]]) -> str:
    """Paired differences as text, one line each."""
    lines = [
        f"{'entry':<18} {'paired difference of F1':<34} {'mean':>8} {'95 %':>9} {'relative':>9}"
    ]
    for d in differences:
        sure = abs(d["difference"]) > d["half_width"]
        lines.append(
            f"{d['entry']:<18} {d['first'] + ' - ' + d['second']:<34} {d['difference']:>+8.4f} "
            f"±{d['half_width']:>8.4f} {d['relative']:>+8.1%} {'*' if sure else ''}"
        )
    return "\n".join(lines)
