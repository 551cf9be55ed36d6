"""The page of prefetchers: what experiments.prefetch found on one trace or on several."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import PurePath
from statistics import geometric_mean as mean
from typing import Any

from packd_jax import report_html as html
from packd_jax.json_files import plain_json
from packd_jax.prefetch import plots
from packd_jax.prefetch.plots import Row
from packd_jax.report_plots import svg
from packd_jax.staged_file import write_text

PANELS = 3  # of the timeliness figure for each kind of prefetcher
_EXPECTED = ("trace", "from_instr", "machine", "definitions", "rows")
_HEAD = ["prefetcher", "bytes", "issued", "accuracy", "coverage", "late"]
_HEAD += ["MPKI", "M cycles", "speed-up"]
_READ = {
    "Coverage against accuracy": "Higher means fewer misses, further right fewer useless blocks:"
    " the best are in the upper right corner. Along a dotted line equally many useless blocks come"
    " with each load that missed or was served. Squares are classical prefetchers, circles"
    " students, the hollow mark is the bound; none has no place here.",
    "MPKI and speed-up": "Misses that are left (shorter is better; the line is without prefetches)"
    " and the estimated speed-up (longer is better). The bound knows the future.",
    "Speed-up against size": "What a byte buys: the line is the best that costs at most so much."
    " Prefetchers without tables stand left of the dotted line; the bound is written above.",
    "Timeliness": "How early blocks came. Green are useful ones, by the cycles between arrival and"
    " first use: far right they take up room for long. Orange are late ones, by the cycles that a"
    " load still waited. Each bar is twice as wide in cycles as its inner neighbour.",
    "Speed-up against inference latency": "What is left when prefetches are known only so many"
    " cycles after their load: the flatter a line, the less haste is needed. Students are thick.",
}
_LATENCY = ("Speed-up against inference latency", plots.speedup_against_latency)
_ALSO = ("late, %", "late / (useful + late)"), ("speed-up", "est_cycles of none / est_cycles")

Results = Mapping[str, Any]


def write_report(results: Results | Sequence[Results], path: str | os.PathLike) -> None:
    """Writes the page of one results.json or of several and renames it in place.

    Each has a section; before those of several stand the geometric means over their traces.
    Results for one trace are runs, of which the geometric mean counts. Equal results give equal
    bytes. Raises ValueError for what is no such result.
    """
    several = [results] if isinstance(results, Mapping) else list(results)
    for found in several or [{}]:
        missing = [key for key in _EXPECTED if key not in found]
        if missing or all(row["name"] != "none" for row in found["rows"]):
            raise ValueError(
                f"results with {sorted(found)}: expected {', '.join(missing) or 'a row of none'}"
                " too; pass what experiments.prefetch leaves in results.json"
            )
    write_text(path, _page([plain_json(found, "results", finite=True) for found in several]))


def trace_names(several: Sequence[Results]) -> list[str]:
    """A name for what each was judged on: that of the trace's file, unless others share it."""
    judged = [(found["trace"], found["from_instr"]) for found in several]
    short = {of: PurePath(of[0]).name.split(".")[0] for of in judged}
    shared = {name for name in short.values() if list(short.values()).count(name) > 1}
    return [f"{of[0]} from {of[1]:,}" if short[of] in shared else short[of] for of in judged]


def by_latency(found: Results) -> dict[int, list[Row]]:
    """Rows by inference latency; `none`, for which it changes nothing, is among each."""
    rows: dict[int, list[Row]] = {}
    alone = [row for row in found["rows"] if row["name"] == "none"][:1]
    for row in found["rows"]:
        cycles = row.get("inference_cycles", found["machine"].get("inference_cycles", 0))
        rows.setdefault(cycles, alone.copy())
        rows[cycles] += [row] if row["name"] != "none" else []
    return dict(sorted(rows.items()))


def gains(several: Sequence[Results]) -> dict[str, dict[int, dict[str, float]]]:
    """Speed-ups by prefetcher, inference latency and trace; of several runs the geometric mean."""
    runs: dict[str, dict[int, dict[str, list[float]]]] = {}
    for trace, found in zip(trace_names(several), several):
        for cycles, rows in by_latency(found).items():
            for row, gain in zip(rows, plots.speedups(rows)):
                at = runs.setdefault(row["name"], {}).setdefault(cycles, {})
                at.setdefault(trace, []).append(gain)
    return {
        name: {c: {t: mean(of) for t, of in at.items()} for c, at in sorted(latencies.items())}
        for name, latencies in runs.items()
    }


def means(several: Sequence[Results]) -> dict[str, dict[int, float]]:
    """Geometric means of `gains` over all traces, for those prefetchers that have one of each."""
    traces = set(trace_names(several))
    return {
        name: {c: mean(at.values()) for c, at in latencies.items() if at.keys() == traces}
        for name, latencies in gains(several).items()
    }


def timed_rows(rows: Sequence[Row]) -> list[Row]:
    """The PANELS fastest classical prefetchers and students that have useful or late blocks."""
    timed = [row for row, _ in plots.built(rows) if sum(row["timeliness"]) + sum(row["lateness"])]
    kinds = [[row for row in timed if plots.kind_of(row["name"]) == kind] for kind in plots.BUILT]
    return [row for of_kind in kinds for row in of_kind[:PANELS]]


def _page(several: Sequence[Results]) -> str:
    traces = trace_names(several)
    headings = [
        trace if traces.count(trace) == 1 else f"{trace}, run {traces[: i + 1].count(trace)}"
        for i, trace in enumerate(traces)
    ]
    title = escape(f"Prefetchers: {', '.join(dict.fromkeys(traces))}")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title>\n<style>{html.STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        *(_overall(several) if len(several) > 1 else ()),
    ]
    for heading, found in zip(headings, several):
        parts += _section(heading, found)
    parts.append("<h2>Definitions</h2>")
    for text in dict.fromkeys(found["definitions"] for found in several):
        terms = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        pairs = [(term, " ".join(of)) for term, *of in [*terms, *_ALSO]]
        parts += ["<dl>", *(f"<dt>{escape(t)}</dt><dd>{escape(d)}</dd>" for t, d in pairs), "</dl>"]
    machines = {name: _flat(found["machine"]) for name, found in zip(headings, several)}
    if len({tuple(of.items()) for of in machines.values()}) == 1:
        machines = {"value": next(iter(machines.values()))}
    else:
        parts.append('<p class="warning">The machines differ: compare within a result only.</p>')
    parts += ["<h2>Machine</h2>\n<p>What was simulated; times are in cycles of the core.</p>"]
    return "\n".join([*parts, _settings("Machine", machines), "</body>\n</html>\n"])


def _overall(several: Sequence[Results]) -> list[str]:
    """Speed-ups by trace and their geometric means, also at other inference latencies."""
    found, overall = gains(several), means(several)
    names = list(dict.fromkeys(trace_names(several)))
    latencies = sorted({cycles for of in found.values() for cycles in of})
    lines = []
    for name, of in found.items():
        sizes = {row["bytes"] for r in several for row in r["rows"] if row["name"] == name}
        cells = [of.get(latencies[0], {}).get(trace) for trace in names]
        cells += [overall[name].get(cycles) for cycles in latencies]
        size = "–".join(f"{n:,}" for n in sorted({min(sizes), max(sizes)}))
        lines.append([name, size, *(html.number(cell, ".3f") for cell in cells)])
    at_first = [
        overall[name].get(latencies[0], 0) * (plots.kind_of(name) in plots.BUILT) for name in found
    ]
    best = [at_first.index(max(at_first))] if any(at_first) else []
    head = [*names, *(f"geometric mean, {cycles:,} cycles" for cycles in latencies)]
    parts = [
        "<h2>Speed-up over all traces</h2>",
        "<p>How many times fewer cycles each prefetcher needs than none, by estimate: on each trace"
        f" at an inference latency of {latencies[0]:,} cycles, and as the geometric mean over"
        " traces, which is missing where a trace is. Bold: the best that can be built; the oracle"
        " is a bound.</p>",
        html.table("Speed-ups", ["prefetcher", "bytes", *head], lines, marked=best),
    ]
    if len(latencies) > 1:
        parts.append(html.figures([_figure("all traces", *_LATENCY, overall, 3.4)]))
    return parts


def _section(heading: str, found: Results) -> list[str]:
    """One result: what was run, the table, the figures, and the other inference latencies."""
    latencies = by_latency(found)
    first, rows = next(iter(latencies.items()))
    none = next(row for row in rows if row["name"] == "none")
    parts = [
        f"<h2>{escape(heading)}</h2>",
        f"<p>Judged on {none['loads']:,} loads of the LLC in {none['instructions']:,} instructions"
        f" from {found['from_instr']:,} on, of which {none['misses']:,} miss without prefetches"
        f" ({none['mpki']:.2f} per 1,000 instructions). Inference latency {first:,} cycles. Bold:"
        " the fastest that can be built; the oracle is a bound.</p>",
        _table(f"Prefetchers, {heading}", rows),
        _figures(heading, rows, means([found])),
    ]
    for cycles, others in list(latencies.items())[1:]:
        caption = f"{heading} at an inference latency of {cycles:,} cycles"
        table = _table(caption, others)
        parts.append(f"<details><summary>{escape(caption)}</summary>\n{table}</details>")
    policies = {
        row["name"]: _flat({key: row[key] for key in ("policy", "retention") if key in row})
        for row in rows
        if "policy" in row
    }
    if policies:
        parts.append("<p>The students' policies, chosen on the loads before the judged ones:</p>")
        parts.append(_settings(f"Policies, {heading}", policies))
    rest = {key: found[key] for key in found if key not in ("rows", "definitions")}
    return [
        *parts,
        "<details><summary>The checkpoint, and where this was computed</summary>",
        f"<pre>{escape(json.dumps(rest, indent=2))}</pre></details>",
    ]


def _table(caption: str, rows: Sequence[Row]) -> str:
    """The numbers of `packd_jax.prefetch.compare.as_markdown`."""
    lines = []
    for row, gain in zip(rows, plots.speedups(rows)):
        shares = row["accuracy"], row["coverage"], row["late"] / max(row["useful"] + row["late"], 1)
        cells = [f"{row['bytes']:,}", f"{row['issued']:,}", *(f"{100 * s:.1f} %" for s in shares)]
        cells += [f"{row['mpki']:.2f}", f"{row['est_cycles'] / 1e6:.2f}", f"{gain:.3f}"]
        lines.append([row["name"], *cells])
    best = [row["name"] for row, _ in plots.built(rows)][:1]
    marked = {i for i, row in enumerate(rows) if row["name"] in best}
    return html.table(caption, _HEAD, lines, marked=marked)


def _figures(heading: str, rows: Sequence[Row], gains: Mapping[str, Any]) -> str:
    timed = timed_rows(rows)
    drawings: list[tuple[str, Callable[..., None], Any, float]] = [
        ("Coverage against accuracy", plots.coverage_against_accuracy, rows, 4.2),
        ("MPKI and speed-up", plots.mpki_and_speedup, rows, 0.7 + 0.24 * len(rows)),
        ("Speed-up against size", plots.speedup_against_size, rows, 3.4),
    ]
    if timed:
        height_in = 0.9 + 1.4 * -(-len(timed) // plots.COLUMNS)
        drawings.append(("Timeliness", plots.timeliness, timed, height_in))
    if len({c for name, of in gains.items() for c in of if plots.kind_of(name) in plots.BUILT}) > 1:
        drawings.append(_LATENCY + (gains, 3.4))
    return html.figures(_figure(heading, *drawing) for drawing in drawings)


def _figure(heading: str, title: str, draw: Callable, data: Any, height_in: float) -> str:
    drawing = svg(f"{title}, {heading}", draw, data, height_in=height_in)
    return f'<div>{html.figure(title, drawing)}\n<p class="note">{_READ[title]}</p></div>'


def _settings(caption: str, columns: Mapping[str, Mapping[str, str]]) -> str:
    keys = dict.fromkeys(key for of in columns.values() for key in of)
    lines = [[key, *(of.get(key, "–") for of in columns.values())] for key in keys]
    return html.table(caption, ["setting", *columns], lines)


def _flat(settings: Any, place: str = "") -> dict[str, str]:
    """The leaves of nested settings as texts, by their dotted place."""
    if not isinstance(settings, Mapping):
        return {place: settings if isinstance(settings, str) else json.dumps(settings)}
    inner = (_flat(v, f"{place}.{k}" if place else k) for k, v in settings.items())
    return {key: text for of in inner for key, text in of.items()}
