"""The page's tables of accuracy, each with what a second measurement would score beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from latency_jax.collection.dataset import Dataset
from latency_jax.fitting.study import Trial
from latency_jax.scores import score
from packd_jax import report_html as html

_SCORES = {  # heading and format of each
    "accuracy": ("accuracy", ".1%"),
    "within_10": ("±10\N{NO-BREAK SPACE}%", ".1%"),
    "mape": ("MAPE", ".1%"),
    "r2": ("R²", ".3f"),
    "r2_log": ("R² of log s", ".3f"),
}
_HEADINGS = tuple(heading for heading, _ in _SCORES.values())
_AGAIN = "measured again"


def repeatability_note(dataset: Dataset | None) -> str:
    """What stands beside every accuracy."""
    if dataset is None:
        return (
            "How well these measurements repeat is unknown, as a CSV file says nothing of second "
            "ones: what accuracy could be had at best is not known."
        )
    if not len(dataset.pairs_s):
        return (
            "How well these measurements repeat is unknown, as nothing was measured twice: "
            "collect for longer to know what accuracy could be had at best."
        )
    return (
        f"Repeatability: {dataset.repeatability:.1%} of {len(dataset.pairs_s):,} pairs of "
        f"measurements, {min(dataset.gaps_s) / 60:.1f} minutes apart or more, agree within ±10 %. "
        f"“{_AGAIN.capitalize()}” is what the second ones score in place of predictions, all kinds "
        "together."
    )


def sets(found: Mapping[str, Any], dataset: Dataset | None) -> list[str]:
    """Scores and costs of every set of regressors; the mode of the LatencyModel is marked."""
    head: tuple[str, ...] = ("set", *_HEADINGS, "by rows: accuracy", "by rows: ±10 %", "coverage")
    head += ("µs a row", "µs for one row", "kB")
    lines: list[list[str]] = []
    marked = set()
    for (name,), rows in _grouped(found["selection"], "set").items():
        if name == found["config"]["goal"]["mode"]:
            marked.add(len(lines))
        lines.append(
            [
                name,
                *_scores([row["macro"] for row in rows]),
                *_scores([row["weighted"] for row in rows])[:2],
                _mean((k["coverage"] for row in rows for k in row["kinds"].values()), ".1%"),
                _mean((row["predict_us_per_row"] for row in rows), ".2f"),
                _mean((row["predict_us_single"] for row in rows), ".0f"),
                _mean((row["size_bytes"] / 1000 for row in rows), ",.1f"),
            ]
        )
    return [
        "<h2>Sets of regressors</h2>",
        f"<p>{repeatability_note(dataset)}</p>",
        html.table("Sets of regressors", head, lines + _again(dataset, head), marked=marked),
        '<p class="note">One regressor for each kind, on test rows; means over kinds and split'
        " seeds, and by rows those over all rows. Coverage is that of 90 % intervals. Time a row is"
        " that in calls of 1,000 rows, kB those of all kinds. Bold: the LatencyModel's.</p>",
        *_gains(found),
    ]


def _gains(found: Mapping[str, Any]) -> list[str]:
    mode = found["config"]["goal"]["mode"]
    own = [row for row in found["gains"] if row["mode"] == mode]
    lines = [
        [
            *key,
            *(
                f"{html.with_interval(row['points'], row['half_width'], '+.2f')}"
                f" ({html.number(row['relative'], '+.2f')} %)"
                for row in rows
            ),
        ]
        for key, rows in _grouped(own, "over", "average").items()
    ]
    measures = dict.fromkeys(_SCORES[row["score"]][0] for row in own)
    return [
        f"<p>What selection by {mode} gains over one regressor for all kinds, in points of 0.01 and"
        " relative; ± is the 95 % interval over split seeds:</p>",
        html.table("Gains of selection", ("over", "mean", *measures), lines, text=2),
    ]


def kinds(found: Mapping[str, Any], trial: Trial, dataset: Dataset | None) -> list[str]:
    """What the LatencyModel holds for each kind, and how that does on test rows."""
    config = found["config"]
    (chosen,) = (
        row
        for row in found["selection"]
        if (row["set"], row["split_seed"]) == (config["goal"]["mode"], trial.seed)
    )
    head: tuple[str, ...] = (
        "kind",
        "regressor",
        *_HEADINGS,
        "coverage",
        "interval ×÷",
        "in domain",
    )
    head += ("train rows", "validation rows", "test rows")
    lines = [
        [
            kind,
            of["regressor"],
            *_scores([of]),
            html.number(of["coverage"], ".1%"),
            html.number(of["interval_factor"], ".2f"),
            html.number(of["in_domain"], ".1%"),
            *(f"{part.rows:,}" for part in trial.splits[kind]),
        ]
        for kind, of in chosen["kinds"].items()
    ]
    return [
        f"<h2>The LatencyModel</h2>\n<p>{repeatability_note(dataset)}</p>",
        html.table("The LatencyModel", head, lines + _again(dataset, head, 2), text=2),
        f'<p class="note">On test rows of split seed {trial.seed}. A measurement lies between the'
        " prediction divided and multiplied by the interval's factor in 90 % of cases.</p>",
    ]


def regressors(found: Mapping[str, Any], dataset: Dataset | None) -> list[str]:
    """Every regressor of every kind: the share within ±10 % as a matrix, and all else."""
    groups = _grouped(found["rows"], "kind", "regressor")
    of_kinds = dict.fromkeys(kind for kind, _ in groups)
    names = dict.fromkeys(name for _, name in groups)
    matrix = [
        [kind, *(_mean((r["within_10"] for r in groups.get((kind, n), ())), ".1%") for n in names)]
        for kind in of_kinds
    ]
    head: tuple[str, ...] = ("kind", "regressor", *_HEADINGS, "validation accuracy", "fit s")
    head += ("µs a row", "µs for one row", "kB")
    lines = [
        [
            kind,
            name,
            *_scores(groups[kind, name]),
            _mean((row["validation"]["accuracy"] for row in groups[kind, name]), ".1%"),
            _mean((row["fit_seconds"] for row in groups[kind, name]), ".2f"),
            _mean((row["predict_us_per_row"] for row in groups[kind, name]), ".2f"),
            _mean((row["predict_us_single"] for row in groups[kind, name]), ".0f"),
            _mean((row["size_bytes"] / 1000 for row in groups[kind, name]), ",.1f"),
        ]
        for kind in of_kinds
        for name in names
        if (kind, name) in groups
    ]
    whole = html.table("Every regressor", head, lines + _again(dataset, head, 2), text=2)
    return [
        "<h2>Every regressor</h2>\n<p>Test rows within ±10 %, means over split seeds."
        f" {repeatability_note(dataset)}</p>",
        html.table("Test rows within ±10 %", ("kind", *names), matrix),
        f"<details><summary>All scores, times and sizes</summary>{whole}</details>",
        '<p class="note">Fit s is that of all kinds where a regressor is fitted to them'
        " together.</p>",
    ]


def _again(dataset: Dataset | None, head: Sequence[str], text: int = 1) -> list[list[str]]:
    """The line of second measurements, where there are any; scores follow `text` columns."""
    if dataset is None or not len(dataset.pairs_s):
        return []
    line = [_AGAIN, *["–"] * (text - 1), *_scores([score(*dataset.pairs_s.T)._asdict()])]
    return [line + ["–"] * (len(head) - len(line))]


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_mean((row[name] for row in rows), spec) for name, (_, spec) in _SCORES.items()]


def _mean(values: Iterable[float | None], spec: str) -> str:
    """A dash where a value is missing, or all are."""
    known = [np.nan if value is None else value for value in values]
    return html.number(float(np.mean(known)) if known else None, spec)


def _grouped(
    rows: Sequence[Mapping[str, Any]], *names: str
) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """The rows by their values of these names, as they first appear."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups
