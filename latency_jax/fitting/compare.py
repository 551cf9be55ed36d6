"""What several fits found, side by side: rows are regressors and selections, columns are data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from packd_jax.summary import interval

_SCORES = ("mape", "within_10", "r2")
_OTHERS = ("best_single", "medn")


def comparison(fits: Mapping[str, Mapping[str, Any]], kind: str = "") -> str:
    """A Markdown table of results.json of several fits, by the name of their column.

    A cell is MAPE in % / share within ±10 % / R² on test, means over split seeds, with the half
    width of the 95 % interval of the share. Of fits of several kinds it is the mean over kinds,
    or that of `kind`.
    """
    columns = {name: _cells(found, kind) for name, found in fits.items()}
    names = dict.fromkeys(name for cells in columns.values() for name in cells)
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(c.get(name, '') for c in columns.values())} |")
    return "\n".join(lines) + "\n"


def gains(fits: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of what selection gains by data, in points and relative.

    Modes "time" and "space", over the best single regressor and over MEDN alone.
    """
    lines = ["| data | mode | over | accuracy | R² |", "|---|---|---|---:|---:|"]
    for name, found in fits.items():
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for gain in found["gains"]:
            is_shown = gain["mode"] in ("time", "space") and gain["over"] in _OTHERS
            if is_shown and gain["average"] == "macro":
                cells.setdefault((gain["mode"], gain["over"]), {})[gain["score"]] = _gain(gain)
        for (mode, over), of in cells.items():
            lines.append(f"| {name} | {mode} | {over} | {of['accuracy']} | {of['r2']} |")
    return "\n".join(lines) + "\n"


def costs(fits: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of what predictions cost and of coverage, means over split seeds."""
    lines = [
        "| data | set | µs a row of 1,000 | µs for one | kB | coverage of 90 % intervals |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, found in fits.items():
        for of_set in dict.fromkeys(row["set"] for row in found["selection"]):
            rows = [row for row in found["selection"] if row["set"] == of_set]
            batch, single, size = (
                float(np.mean([row[key] for row in rows]))
                for key in ("predict_us_per_row", "predict_us_single", "size_bytes")
            )
            coverage = np.mean([kind["coverage"] for row in rows for kind in row["kinds"].values()])
            lines.append(
                f"| {name} | {of_set} | {batch:.2f} | {single:.0f} | {size / 1e3:.1f} | "
                f"{100 * coverage:.1f} % |"
            )
    return "\n".join(lines) + "\n"


def _cells(found: Mapping[str, Any], kind: str) -> dict[str, str]:
    scores: dict[str, list[Mapping[str, Any]]] = {}
    for name, of_seed in _scores(found, kind):
        scores.setdefault(name, []).append(of_seed)
    return {name: _cell(of_seeds) for name, of_seeds in scores.items()}


def _scores(found: Mapping[str, Any], wanted: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(row of the table, scores) of each split seed."""
    kinds = {row["kind"] for row in found["rows"]}
    kind = wanted or (kinds.pop() if len(kinds) == 1 else None)
    for row in found["rows"]:
        if row["kind"] == kind:
            yield row["regressor"], row
    names = {row["regressor"] for row in found["rows"]}
    for row in found["selection"]:
        name = f"selection, {row['set']}" if row["set"] not in names else row["set"]
        if kind is None:
            yield name, row["macro"]
        elif row["set"] not in names and kind in row["kinds"]:
            yield name, row["kinds"][kind]


def _cell(scores: Sequence[Mapping[str, Any]]) -> str:
    mape, within_10, r2 = (interval(row[name] for row in scores) for name in _SCORES)
    spread = within_10.half_width
    around = "" if np.isnan(spread) else f" ± {100 * spread:.1f}"
    return f"{100 * mape.mean:.2f} / {100 * within_10.mean:.1f}{around} / {r2.mean:.3f}"


def _gain(gain: Mapping[str, Any]) -> str:
    around = "" if gain["half_width"] is None else f" ± {gain['half_width']:.2f}"
    return f"{gain['points']:+.2f}{around} points, {gain['relative']:+.2f} %"
