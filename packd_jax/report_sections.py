"""The report's sections, each a list of HTML parts made from what `run_study` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from packd_jax import report_html as html
from packd_jax import report_plots as plots
from packd_jax import summary

ARMS = {
    "marginal": "how often each bit is set in training, whatever the input",
    "no_kd": "the student, trained on labels alone",
    "kd": "standard distillation: one teacher for all rows",
    "packd": "PaCKD: one teacher per cluster, each row taught by its own cluster's",
    "packd_random": "as packd, with random clusters of the same sizes",
    "kd_budget": "one teacher with the training steps of all of packd's together",
    "cluster_input": "no teacher; the cluster id is one more input of the student",
    "cluster_input_kd": "the cluster id as an input, and one teacher",
}


def judge_split(study: Mapping[str, Any]) -> str:
    """The split on which the study made its choices."""
    return "test" if study["config"]["quirks"]["select_on_test"] else "validation"


def scores(study: Mapping[str, Any]) -> list[str]:
    """The selected row as a sentence, the main table, and what its arms are."""
    rows, chosen, where = study["rows"], study["rows"][study["selected"]], judge_split(study)
    f1, seconds = summary.by_arm(rows, "f1"), summary.by_arm(rows, "train_seconds")
    others = ("precision", "recall", "average_precision", "f1_at_half", "validation_f1")
    means = [summary.by_arm(rows, metric) for metric in others]
    lines: list[list[str]] = []
    marked = set()
    for key in f1:
        some = next(r for r in rows if (r["entry"], r["arm"]) == key)
        if key == (chosen["entry"], chosen["arm"]):
            marked.add(len(lines))
        lines.append(
            [
                *key,
                _setting(some),
                f"{some['params']:,}",
                f"{some['bytes']:,}",
                html.with_interval(*f1[key], ".4f"),
                *(html.number(mean[key].mean, ".4f") for mean in means),
                f"{some['steps']:,}",
                html.number(seconds[key].mean, ".1f"),
            ]
        )
    head = "entry arm setting params bytes F1_±_95_% precision recall avg._prec. F1_at_0.5"
    columns = [name.replace("_", " ") for name in f"{head} {where}_F1 steps train_s".split()]
    selected, f1_chosen, precision, recall = (
        html.number(chosen[name], ".4f") for name in ("validation_f1", "f1", "precision", "recall")
    )
    return [
        "<h2>Result</h2>",
        f"<p>By {where} F1 ({selected}) the study selects <strong>{escape(chosen['entry'])},"
        f" {chosen['arm']}</strong>, seed {chosen['seed']}: test F1 <strong>{f1_chosen}</strong>"
        f" (precision {precision}, recall {recall}) at threshold"
        f" {html.number(chosen['threshold'], '.3f')}, with {chosen['params']:,} parameters in"
        f" {chosen['bytes']:,} bytes.</p>",
        html.table("Scores by entry and arm", columns, lines, text=3, marked=marked),
        f'<p class="note">Means over seeds on test, at the threshold chosen on {where}; ± is the'
        " 95 % Student-t interval over seeds. Bold: the selected row's arm. Train s is one"
        " student's share of the program that trains them together, without its teachers.</p>",
        "<dl>",
        *(
            f'<dt><span style="color:{plots.ARM_STYLES[arm].colour}">■</span> {arm}</dt>'
            f"<dd>{ARMS[arm]}</dd>"
            for arm in dict.fromkeys(row["arm"] for row in rows)
        ),
        "</dl>",
    ]


def _setting(row: Mapping[str, Any]) -> str:
    """What the arm was given: alpha and temperature where there is a teacher, its clusters."""
    parts = []
    if any(alpha < 1 for alpha in row.get("alpha") or ()):
        parts += [f"α {'/'.join(f'{a:g}' for a in row['alpha'])}", f"T {row['temperature']:g}"]
    if row.get("clusters"):
        parts.append(row["clusters"])
    return ", ".join(parts) or "–"


def differences(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paired differences between arms as a forest plot and a table."""
    if not pairs:
        return []
    sure = {i for i, pair in enumerate(pairs) if plots.excludes_zero(pair)}
    known = sum(pair["half_width"] is not None for pair in pairs)
    reach = 1.08 * max(abs(p["difference"] or 0) + (p["half_width"] or 0) for p in pairs)
    drawn = []
    for entry in dict.fromkeys(pair["entry"] for pair in pairs):
        own = [pair for pair in pairs if pair["entry"] == entry]
        alt = f"Forest plot of the paired differences of test F1, {entry}; the table has them all"
        drawing = plots.svg(alt, plots.forest, own, reach, height_in=0.75 + 0.27 * len(own))
        drawn.append(html.figure(entry, drawing))
    lines = [
        [
            pair["entry"],
            f"{pair['first']} − {pair['second']}",
            ("higher" if pair["difference"] > 0 else "lower") if i in sure else "–",
            html.with_interval(pair["difference"], pair["half_width"], "+.4f"),
            html.with_interval(pair["relative"], pair["relative_half_width"], "+.1%"),
            str(pair["seeds"]),
        ]
        for i, pair in enumerate(pairs)
    ]
    head = ("entry", "difference of F1", "excludes zero", "mean ± 95 %", "relative", "seeds")
    verdict = (
        f"{len(sure)} of {known} intervals exclude zero; about {known / 20:.1f} would by chance if"
        " no arm differed from another. Filled marks and bold lines are those."
    )
    if not known:
        verdict = "One seed gives differences without intervals; run three or more to judge them."
    return [
        f"<h2>Paired differences</h2>\n<p>{verdict}</p>",
        html.figures(drawn),
        html.table("Paired differences", head, lines, text=3, marked=sure),
    ]


def size(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The frontier: what F1 costs in bytes."""
    alt = "Test F1 against bytes of parameters, by entry and arm; the table of scores has them all"
    drawing = plots.svg(alt, plots.f1_against_size, rows, height_in=3.2)
    return [
        "<h2>F1 against size</h2>",
        html.figures([html.figure("All entries", drawing)]),
        '<p class="note">Large: means over seeds; small: seeds. Arms of about one size stand side'
        " by side, centred on it. The line is the best mean that so many bytes or fewer reach.</p>",
    ]


def clusters(details: Mapping[str, Any]) -> list[str]:
    """Test F1 cluster by cluster, for every clustering of every entry."""
    drawn, lines = [], []
    for entry, detail in details.items():
        for name, found in detail["clusters"].items():
            alt = f"Test F1 by cluster and arm, {entry}, clusters {name}"
            height = 0.7 + len(found["sizes"]) * max(0.6, 0.13 * len(found["test_f1"]))
            drawing = plots.svg(alt, plots.f1_by_cluster, found, height_in=height)
            drawn.append(html.figure(f"{entry}, clusters {name}", drawing))
            for arm, f1 in found["test_f1"].items():
                scores = " · ".join(html.number(value, ".4f") for value in f1)
                lines.append([entry, name, arm, scores])
    if not drawn:
        return []
    head = ("entry", "clusters", "arm", "test F1, cluster 0 · 1 · …")
    return [
        "<h2>Clusters</h2>\n<p>Test F1 inside each cluster at every student's own threshold, mean"
        " over seeds. The letter names the clustered feature (a: block addresses, d: block deltas,"
        " i: PCs, t: page offset), the number the K asked for.</p>",
        html.figures(drawn),
        f"<details><summary>The numbers</summary>{html.table('F1 by cluster', head, lines, text=3)}"
        "</details>",
    ]


def teachers(study: Mapping[str, Any]) -> list[str]:
    """Every teacher set beside the plain student, which it must beat to be worth learning from."""
    lines: list[list[str]] = []
    marked = set()
    for entry, detail in study["details"].items():
        plain = summary.by_arm(study["rows"], "validation_f1").get((entry, "no_kd"))
        for name, teacher in detail["teachers"].items():
            f1, verdict = teacher["validation_f1"], "–"
            if f1 is not None and plain and plain.mean == plain.mean:
                verdict = "better" if f1 > plain.mean else "no better"
            if verdict == "no better":
                marked.add(len(lines))
            numbers = [html.number(f1, ".4f"), html.number(plain and plain.mean, ".4f")]
            counts = [str(teacher["clusters"]), f"{teacher['steps']:,}"]
            lines.append([entry, name, verdict, *numbers, *counts])
    if not lines:
        return []
    head = ("entry", "teacher set", "than the student", "F1", "student's F1", "teachers", "steps")
    warning = " Bold: no better than the plain student, so expect no gain from it."
    return [
        f"<h2>Teachers</h2>\n<p>F1 on {judge_split(study)}, for the student the mean over seeds;"
        f" the last part of a name is its seed.{warning if marked else ''}</p>",
        html.table("Teachers", head, lines, text=3, marked=marked),
    ]


def training(study: Mapping[str, Any]) -> list[str]:
    """Curves of F1 and loss, and what a threshold other than the chosen one would have given."""
    where = judge_split(study)
    curves, thresholds = [], []
    for entry, detail in study["details"].items():
        for quantity, name in (("validation_f1", f"{where} F1"), ("loss", "training loss")):
            if detail["curves"]:
                alt = f"{name} against training steps by arm and seed, {entry}"
                data = detail["curves"], quantity, name
                curves.append(
                    html.figure(f"{entry}, {name}", plots.svg(alt, plots.training_curves, *data))
                )
        if best := detail.get("threshold_curve"):
            chosen = next(
                row["threshold"]
                for row in study["rows"]
                if (row["entry"], row["arm"], row["seed"]) == (entry, best["arm"], best["seed"])
            )
            alt = f"Test F1 against the threshold, {entry}; chosen {html.number(chosen, '.3f')}"
            drawing = plots.svg(alt, plots.threshold_curve, best, chosen)
            thresholds.append(html.figure(f"{entry}, {best['arm']}, seed {best['seed']}", drawing))
    parts = []
    if curves:
        parts += [
            "<h2>Training</h2>\n<p>Thin lines are seeds, thick ones their mean. Arms with soft"
            " targets minimise another loss, so compare the shape of losses, not their level.</p>",
            html.figures(curves),
        ]
    if thresholds:
        parts += [
            f"<h2>Threshold</h2>\n<p>Of each entry's best student on {where}; the dashed line is"
            f" the threshold chosen on {where}.</p>",
            html.figures(thresholds),
        ]
    return parts


def labels(details: Mapping[str, Any]) -> list[str]:
    """How often each delta is set; entries whose labels agree share a figure."""
    frequencies: dict[tuple[float | None, ...], list[str]] = {}
    for entry, detail in details.items():
        frequencies.setdefault(tuple(detail["label_frequency"]), []).append(entry)
    drawn = []
    for frequency, entries in frequencies.items():
        names = ", ".join(entries)
        alt = f"Share of training rows whose label holds each delta, {names}"
        drawing = plots.svg(alt, plots.delta_histogram, frequency)
        drawn.append(html.figure(names, drawing))
    return [
        "<h2>Deltas</h2>\n<p>In which share of the training rows a block at this distance is loaded"
        " within the horizon. The zero delta is no label.</p>",
        html.figures(drawn),
    ]
