"""The report of a study: one HTML page that needs nothing else, for screen, phone and paper."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from packd_jax import report_html as html
from packd_jax import report_sections as sections
from packd_jax.config import QuirksConfig, to_json_dict
from packd_jax.json_files import plain_json
from packd_jax.staged_file import write_text


def write_report(results: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Writes the page of what `run_study` returned (or results.json holds) and renames it in place.

    Equal results give equal bytes. Raises ValueError for anything that is no study.
    """
    write_text(path, _page(plain_json(results, "results", finite=True)))


def _page(study: Mapping[str, Any]) -> str:
    expected = ("trace", "environment", "config", "rows", "selected", "differences", "details")
    missing = [key for key in expected if key not in study]
    if missing or not study["rows"]:
        raise ValueError(
            f"results with the keys {sorted(study)}: expected {', '.join(missing) or 'some rows'}"
            " too; pass what run_study returns, or the content of its results.json"
        )
    title = escape(f"PaCKD study: {study['config']['name']}")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title>\n<style>{html.STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        *_what_was_run(study),
        *sections.scores(study),
        *sections.differences(study["differences"]),
        *sections.size(study["rows"]),
        *sections.clusters(study["details"]),
        *sections.training(study),
        *sections.labels(study["details"]),
        *sections.teachers(study),
        "<h2>Configuration</h2>\n<details><summary>All settings of this study</summary>",
        f"<pre>{escape(json.dumps(study['config'], indent=2))}</pre></details>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _what_was_run(study: Mapping[str, Any]) -> list[str]:
    config, trace, machine = study["config"], study["trace"], study["environment"]
    versions = [f"{name} {version or '–'}" for name, version in machine["versions"].items()]
    windows = ", ".join(
        f"{split} {config['trace'][split][0]:,}–{config['trace'][split][1]:,}"
        for split in ("train", "validation", "test")
    )
    facts = {
        "Configuration": config["name"],
        "Trace": "\n".join(_as_list(trace["path"])),
        "SHA-256": "\n".join(_as_list(trace["sha256"])),
        "Trace rows": f"{trace['trace_rows']:,}",
        "Splits": f"{windows} ({config['trace']['unit']})",
        "Seeds": ", ".join(map(str, config["seeds"])),
        "Machine": f"{machine['cpu_model'] or '–'}, {machine['cpu_cores'] or '–'} cores;"
        f" {machine['device_count']} × {machine['device_kind']} ({machine['backend']});"
        f" {machine['platform']}",
        "Versions": ", ".join(versions),
        "Commit": machine["git_commit"] or "–",
    }
    if not config["trace"]["paths"]:
        workload = config["trace"]["workload"]
        facts["Trace"] += (
            f"\nmade by the embedded {workload['kernel']} on a {workload['graph']} graph of scale"
            f" {workload['scale']}, {workload['instructions']:,} instructions"
        )
    off = to_json_dict(QuirksConfig())
    quirks = [key for key, value in config["quirks"].items() if value != off[key]]
    warning = f"With the authors' quirks {', '.join(quirks)}."
    if sections.judge_split(study) == "test":
        warning += " Choices were made on test, so its scores flatter."
    rows = [
        [entry, *(f"{counts[split]:,}" for split in ("train", "validation", "test"))]
        for entry, counts in trace["rows"].items()
    ]
    return [
        "<h2>What was run</h2>\n<dl>",
        *(
            f"<dt>{escape(name)}</dt><dd>{escape(text).replace(chr(10), '<br>')}</dd>"
            for name, text in facts.items()
        ),
        "</dl>",
        f'<p class="warning">{escape(warning)}</p>' if quirks else "",
        html.table("Rows by split", ("entry", "train rows", "validation rows", "test rows"), rows),
        "<p>To run it again, with any <code>--config.…</code> that was given besides:</p>",
        f"<pre>{escape(_command(config))}</pre>",
    ]


def _command(config: Mapping[str, Any]) -> str:
    words = ["python", "-m", "experiments.packd"]
    words.append(f"--config=experiments/configs/packd.py:{config['name']}")
    if paths := config["trace"]["paths"]:
        # The flag is a list in CSV: a path that holds a comma is quoted.
        words.append("--trace=" + ",".join(f'"{p}"' if "," in p else p for p in paths))
    return shlex.join(words)


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
