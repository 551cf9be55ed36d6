"""What the study of held-out devices found, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from packd_jax.summary import interval

Rows = Sequence[Mapping[str, Any]]
CHOSEN = "chosen on the other devices"
_ARMS = {
    "zero_shot": "other devices",
    "recalibrated": "recalibrated",
    "retrained": "trained anew with others",
    "single": "one other device, recalibrated",
    "scratch": "from scratch",
    "all_rows": "all rows of the device",
}


def page(found: Mapping[str, Rows]) -> str:
    """Tables of all that was found, by name of the table."""
    parts = [f"# {name}\n\n{means(rows)}\n{by_device(rows)}" for name, rows in found.items()]
    covered = [row for rows in found.values() for row in rows if "coverage" in row]
    return "\n".join([*parts, *([coverage(found)] if covered else [])])


def means(rows: Rows) -> str:
    """MAPE, share within ±10 % and R² of log seconds by arm and measurements: means over devices.

    After ±: half of the 95 % interval over draws of the measurements.
    """
    rows = [*rows, *chosen_methods(rows)]
    counts = sorted({r["measured"] for r in rows if r["arm"] != "all_rows"})
    lines = ["| | | " + " | ".join(map(str, counts)) + " |", "|---|---|" + "---:|" * len(counts)]
    for arm, title in _ARMS.items():
        for what in dict.fromkeys(r["what"] for r in rows if r["arm"] == arm):
            of_what = [r for r in rows if (r["arm"], r["what"]) == (arm, what)]
            if arm == "all_rows":
                lines += ["", f"{title}, {what}: {_cell(of_what)}"]
                continue
            cells = [_cell([r for r in of_what if r["measured"] == count]) for count in counts]
            lines.append(f"| {title} | {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def by_device(rows: Rows) -> str:
    """MAPE by device of what one would use: mean and deviation over draws."""
    shown = {
        "recalibrated": ("recalibrated", "blend"),
        "one other device": ("single", "blend"),
        "from scratch": ("scratch", "chosen"),
    }
    counts = sorted({r["measured"] for r in rows if r["arm"] == "scratch"})
    lines = [
        "| MAPE | | " + " | ".join(map(str, counts)) + " | all rows |",
        "|---|---|" + "---:|" * (len(counts) + 1),
    ]
    for device in dict.fromkeys(r["device"] for r in rows):
        of_device = [r for r in rows if r["device"] == device]
        whole = 100 * np.mean([r["mape"] for r in of_device if r["arm"] == "all_rows"])
        for title, key in shown.items():
            mine = [r for r in of_device if (r["arm"], r["what"]) == key]
            if mine:
                cells = [_spread(r["mape"] for r in mine if r["measured"] == n) for n in counts]
                lines.append(f"| {device} | {title} | {' | '.join(cells)} | {whole:.1f} |")
    return "\n".join(lines) + "\n"


def coverage(found: Mapping[str, Rows]) -> str:
    """The share of test rows within 90 % intervals: mean over devices and draws, and a tenth."""
    lines = ["# Coverage of 90 % intervals\n", "| | | measured | mean | a tenth of draws below |"]
    lines.append("|---|---|---:|---:|---:|")
    for name, rows in found.items():
        covered = [row for row in rows if "coverage" in row]
        for arm, count in dict.fromkeys((r["arm"], r["measured"]) for r in covered):
            of_arm = [r["coverage"] for r in covered if (r["arm"], r["measured"]) == (arm, count)]
            mean, low = 100 * np.mean(of_arm), 100 * np.quantile(of_arm, 0.1)
            lines.append(f"| {name} | {_ARMS[arm]} | {count} | {mean:.0f} % | {low:.0f} % |")
    return "\n".join(lines) + "\n"


def chosen_methods(rows: Rows) -> list[dict[str, Any]]:
    """For each device the rows of the method that is best on the others, by arm and count.

    So no test row of a device has a say in what is done for it.
    """
    found: list[dict[str, Any]] = []
    keys = {
        (r["arm"], r["measured"]): None for r in rows if r["arm"] in ("recalibrated", "zero_shot")
    }
    devices = list(dict.fromkeys(r["device"] for r in rows))
    for arm, count in keys if len(devices) > 1 else ():
        of_arm = [r for r in rows if (r["arm"], r["measured"]) == (arm, count)]
        for device in devices:
            errors: dict[str, list[float]] = {}
            for row in of_arm:
                if row["device"] != device:
                    errors.setdefault(row["what"], []).append(row["mape"])
            best = min(errors, key=lambda what: float(np.mean(np.log(errors[what]))))
            mine = [r for r in of_arm if (r["device"], r["what"]) == (device, best)]
            found += [{**row, "what": CHOSEN} for row in mine]
    return found


def _cell(rows: Rows) -> str:
    """MAPE / within 10 % / R² of log seconds, means over devices and sources, over draws."""
    if not rows:
        return ""
    by_draw: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_draw.setdefault(row["draw"], []).append(row)
    mape, within, r2 = (
        interval(float(np.mean([row[score] for row in of_draw])) for of_draw in by_draw.values())
        for score in ("mape", "within_10", "r2_log")
    )
    around = "" if np.isnan(mape.half_width) else f" ± {100 * mape.half_width:.1f}"
    return f"{100 * mape.mean:.1f}{around} / {100 * within.mean:.0f} / {r2.mean:.2f}"


def _spread(values: Iterable[float]) -> str:
    known = 100 * np.array(list(values))
    return f"{known.mean():.1f} ± {known.std():.1f}" if len(known) else ""
