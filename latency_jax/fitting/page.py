"""The report of a study: one HTML page that needs nothing else, for screen, phone and paper."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

import numpy as np

from latency_jax.collection.dataset import Dataset
from latency_jax.fitting import page_plots as plots
from latency_jax.fitting import page_tables as tables
from latency_jax.fitting.front_plot import COSTS, draw_front
from latency_jax.fitting.study import Trial
from packd_jax import report_html as html
from packd_jax.json_files import plain_json
from packd_jax.report_plots import svg
from packd_jax.staged_file import write_text

_EXPECTED = ("data", "command", "fitted_on", "config", "rows", "selection", "gains", "front")
_TEST_ROWS = {"random": "drawn at random", "largest": "those of most work"}


def write_page(
    path: str | os.PathLike, found: Mapping[str, Any], trial: Trial, dataset: Dataset | None = None
) -> None:
    """Writes the page of a study and renames it in place. Equal inputs give equal bytes.

    `found` is what `experiments.fit_latency` leaves in results.json: `results`, and where they
    come from. `trial` is that of the first split seed, whose test rows are drawn. `dataset` is
    what was fitted; without one, as for a CSV file, nothing is known of repeatability and drift,
    and the page says so. Raises ValueError for a `found` that lacks something, and for a trial
    of another split seed.
    """
    missing = [name for name in _EXPECTED if name not in found]
    if missing:
        raise ValueError(
            f"results with the keys {sorted(found)}: expected {', '.join(missing)} too; pass what "
            "experiments.fit_latency leaves in results.json"
        )
    if trial.seed != found["config"]["split_seed"]:
        raise ValueError(
            f"a trial of split seed {trial.seed}: expected that of the first seed of the results, "
            f"{found['config']['split_seed']}"
        )
    write_text(path, _page(plain_json(found, "results", finite=True), trial, dataset))


def _page(found: Mapping[str, Any], trial: Trial, dataset: Dataset | None) -> str:
    title = escape(f"Latency study: {found['data']}")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title>\n<style>{html.STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        *_what_was_fitted(found, trial, dataset),
        *tables.sets(found, dataset),
        *_costs(found),
        *tables.kinds(found, trial, dataset),
        *_predictions(found, trial, dataset),
        *_coverage(found),
        *tables.regressors(found, dataset),
        *_measurements(dataset),
        "<h2>Settings</h2>",
        _settings("Of the fit", found["config"]),
        _settings("Of the machine that it ran on", found["fitted_on"]),
    ]
    if dataset is not None:
        parts.append(_settings("Of the collection", dataset.config))
        parts.append(_settings("Of the machine that was measured", dataset.environment))
    return "\n".join([*parts, "</body>\n</html>\n"])


def _what_was_fitted(found: Mapping[str, Any], trial: Trial, dataset: Dataset | None) -> list[str]:
    config, goal = found["config"], found["config"]["goal"]
    rows = [sum(table.rows for table in part) for part in zip(*trial.splits.values())]
    facts = {
        "Data": found["data"],
        "Rows": f"{sum(rows):,} of {len(trial.splits)} module kinds; in each split {rows[0]:,} to"
        f" train, {rows[1]:,} to select, {rows[2]:,} to test",
        "Split seeds": ", ".join(str(config["split_seed"] + i) for i in range(config["seeds"])),
        "Test rows": _TEST_ROWS.get(config["held_out"], f"those of {config['held_out']}"),
        "Columns left out": ", ".join(config["without"]) or "none",
        "Regressors": ", ".join(dict.fromkeys(row["regressor"] for row in found["rows"])),
        "Selection": f"{goal['mode']} mode, among those of a kind whose {goal['metric']} on"
        f" validation is at most {100 * goal['tolerance']:g} points below the best",
        "Measured on": "unknown: a CSV file does not say",
    }
    if dataset is not None:
        facts["Measured on"] = _machine(dataset.environment)
        facts["Measured in"] = (
            f"{dataset.spent_s / 60:.1f} minutes, {dataset.rate:.0f} measurements a minute;"
            f" {len(dataset.failures)} configurations could not be measured"
        )
    facts["Fitted on"] = _machine(found["fitted_on"])
    return [
        "<h2>What was fitted</h2>\n<dl>",
        *(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()),
        f"</dl>\n<p>The command:</p>\n<pre>{escape(found['command'])}</pre>",
    ]


def _machine(environment: Mapping[str, Any]) -> str:
    """What an environment or a provenance says, in a line; a dash for what is not known."""
    known = {name: value for name, value in environment.items() if value is not None}
    cores = known.get("threads", known.get("cpu_cores", "–"))
    versions = known.get("versions", {})
    facts = [
        f"environment {known['id']}" if "id" in known else "",
        f"{known.get('cpu_model', '–')}, {cores} cores",
        f"{known.get('device_kind', '–')} ({known.get('backend', '–')})",
        known.get("platform", "–"),
        ", ".join(f"{name} {version or '–'}" for name, version in versions.items()),
        f"commit {known.get('git_commit', '–')}",
    ]
    return "; ".join(filter(None, facts))


def _costs(found: Mapping[str, Any]) -> list[str]:
    drawn = [
        html.figure(
            f"Accuracy against {name}",
            svg(f"Validation accuracy against {label}", draw_front, found, cost, height_in=3.2),
        )
        for (cost, label), name in zip(COSTS.items(), ("time", "space"))
    ]
    return [
        "<h2>Accuracy against time and space</h2>",
        html.figures(drawn),
        '<p class="note">On validation rows of the first split seed. Small points are what'
        " selection can reach and the line the best of them that cost no more, circles what its"
        " modes choose, other points single regressors for all kinds.</p>",
    ]


def _predictions(found: Mapping[str, Any], trial: Trial, dataset: Dataset | None) -> list[str]:
    pairs_s = _test_pairs(trial, found["config"]["goal"]["mode"])
    again_s = dataset.pairs_s if dataset is not None and len(dataset.pairs_s) else None
    small = partial(svg, height_in=plots.panels_height_in(len(pairs_s)))
    predicted = small(
        "Predicted over measured latency of test rows, by kind, with the ±10 % band",
        plots.panels,
        pairs_s,
        plots.agreement,
        "measured",
        "predicted",
    )
    errors = small(
        "Share of test rows that lie within each relative error, by kind",
        plots.panels,
        pairs_s,
        partial(plots.error_distribution, again_s=again_s),
        "relative error",
        "share of test rows within it",
    )
    again = (
        "no pairs were measured"
        if again_s is None
        else "dashed are the second measurements of all kinds"
    )
    drawn = [
        html.figure("Predicted against measured", predicted),
        html.figure("Distribution of the error", errors),
    ]
    return [
        "<h2>Predictions</h2>",
        f"<p>{tables.repeatability_note(dataset)}</p>",
        html.figures(drawn),
        f'<p class="note">What the LatencyModel says of test rows of split seed {trial.seed}; of'
        f" many rows {plots.MARKS} are drawn, evenly by their error. Right: {again};"
        " the upright line is at 10 %.</p>",
    ]


def _test_pairs(trial: Trial, mode: str) -> dict[str, np.ndarray]:
    """Measured and predicted seconds f64[N, 2]: of all kinds, where there are several; of each."""
    fitted = {(fit.candidate.kind, fit.candidate.name): fit.regressor for fit in trial.fits}
    pairs_s = {}
    for kind, name in trial.sets[mode].names.items():
        test = trial.splits[kind].test
        predicted = fitted[kind, name].predict(test)
        pairs_s[kind] = np.stack([test.latency, predicted], axis=1)
    together = {"all kinds": np.concatenate(list(pairs_s.values()))}
    return pairs_s if len(pairs_s) == 1 else {**together, **pairs_s}


def _coverage(found: Mapping[str, Any]) -> list[str]:
    shares: dict[str, list[float]] = {}
    for row in found["selection"]:
        if row["set"] == found["config"]["goal"]["mode"]:
            for kind, of in row["kinds"].items():
                shares.setdefault(kind, []).append(of["coverage"])
    low, high = plots.BAND
    inside = sum(low <= np.mean(of_kind) <= high for of_kind in shares.values())
    alt = "Coverage of 90 % intervals on test rows, by kind, with the band from 85 to 95 %"
    drawing = svg(alt, plots.coverage, shares, height_in=0.8 + 0.22 * len(shares))
    return [
        "<h2>Intervals</h2>",
        f"<p>90 % intervals hold between 85 and 95 % of the test rows of {inside} of {len(shares)}"
        " kinds.</p>",
        html.figures([html.figure("Coverage by kind", drawing)]),
        '<p class="note">Small: splits; large: their mean, hollow where it is outside. Few'
        " validation rows give intervals without end, which hold everything.</p>",
    ]


def _measurements(dataset: Dataset | None) -> list[str]:
    """How well the data repeat, and how much the machine drifted under them."""
    heading = "<h2>Repeatability and drift</h2>"
    if dataset is None:
        return [
            f"{heading}\n<p>A CSV file holds neither second measurements of a configuration nor"
            " those of a sentinel, so neither can be shown; measure with"
            " <code>experiments.collect_latency</code> to have both.</p>"
        ]
    pairs_s = dataset.pairs_s
    drawn = []
    if len(pairs_s):
        alt = "Second over first measurement of pairs, with the ±10 % band"
        drawing = svg(alt, plots.agreement, pairs_s, height_in=3.4)
        drawn.append(html.figure("Second against first measurement", drawing))
        alt = "Share of pairs that agree within ±10 %, by latency"
        ranges = plots.by_latency(pairs_s)
        drawing = svg(alt, plots.shares, ranges, height_in=0.6 + 0.4 * len(ranges))
        drawn.append(html.figure("Pairs within ±10 %, by latency", drawing))
    alt = "Time of the sentinel configuration over the collection"
    drawn.append(html.figure("Drift", svg(alt, plots.sentinel_drift, dataset.sentinel)))
    return [
        heading,
        f"<p>{tables.repeatability_note(dataset)} 95 % of the sentinel's {len(dataset.sentinel):,}"
        f" times are at most {dataset.drift:.1%} over their median.</p>",
        html.figures(drawn),
        '<p class="note">The sentinel is timed after every window of a measurement, beside the same'
        " background load, so its times rise with that too.</p>",
    ]


def _settings(caption: str, settings: Mapping[str, Any]) -> str:
    text = escape(json.dumps(settings, indent=2))
    return f"<details><summary>{caption}</summary><pre>{text}</pre></details>"
