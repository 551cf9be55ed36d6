"""One page of what experiments.prefetch has left, for one trace or for several.

python -m experiments.prefetch_report --results=OUT/results.json --out=report.html
python -m experiments.prefetch_report --results=OUT1/results.json,OUT2/results.json --out=all.html

Shows all prefetchers in a table, coverage against accuracy, timeliness, MPKI and estimated
speed-up, size against speed-up, and what inference latency costs where there are several. Of
several traces it has the geometric mean speed-ups, too; results for one trace are runs of it.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError
from packd_jax.prefetch.report import write_report

RESULTS = flags.DEFINE_list("results", None, "results.json of experiments.prefetch", required=True)
OUT = flags.DEFINE_string("out", "report.html", "where the page goes")

_WHOLE = (
    *("bytes", "issued", "useful", "useless", "late", "loads", "misses", "instructions"),
    *("est_cycles", "inference_cycles"),
)
_NUMBERS = ("accuracy", "coverage", "mpki", "mpki_none")
_HISTOGRAMS = ("timeliness", "lateness")
_BINS = 64  # cycles fit in 64 bits


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --results={argv[1]}")
    if not RESULTS.value:
        raise ConfigError("--results: no file given; expected results.json of experiments.prefetch")
    found = [read_results(path) for path in RESULTS.value]
    out = Path(OUT.value)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_report(found, out)
    except OSError as error:
        raise ConfigError(f"--out={out}: {error.strerror}; expected a file to write") from None
    print(out)


def read_results(path: str) -> dict[str, Any]:
    """What experiments.prefetch left there. ConfigError, with the place, for anything else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a results.json") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: no JSON: {error}; expected a results.json") from None

    def need(fits: bool, key: str, given: Any, expected: str) -> None:
        if not fits:
            text = json.dumps(given)
            text = text if len(text) <= 60 else f"{text[:60]} …"
            raise ConfigError(
                f"{path}: {key} = {text}; expected {expected}, as experiments.prefetch leaves it"
            )

    need(isinstance(found, dict), "content", found, "an object with rows")
    for key, kind, expected in (
        ("trace", str, "the path of a trace"),
        ("definitions", str, "a text"),
        ("machine", dict, "an object"),
        ("rows", list, "a list of prefetchers"),
    ):
        need(isinstance(found.get(key), kind), key, found.get(key), expected)
    need(_whole(found.get("from_instr")), "from_instr", found.get("from_instr"), "a whole number")
    latency = found["machine"].get("inference_cycles", 0)
    need(_whole(latency), "machine.inference_cycles", latency, "a whole number")
    for i, row in enumerate(found["rows"]):
        need(isinstance(row, dict), f"rows[{i}]", row, "an object")
        name = row.get("name")
        fits = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 60
        need(fits, f"rows[{i}].name", name, "1 to 60 printable characters")
        row.setdefault("inference_cycles", latency)
        for key in ("policy", "retention"):
            need(isinstance(row.get(key, {}), dict), f"rows[{i}].{key}", row.get(key), "an object")
        for key in _WHOLE:
            need(
                _whole(row.get(key)), f"rows[{i}].{key}", row.get(key), "a whole number, 0 or more"
            )
        need(row["est_cycles"] > 0, f"rows[{i}].est_cycles", 0, "1 or more")
        for key in _NUMBERS:
            fits = _number(row.get(key))
            need(fits, f"rows[{i}].{key}", row.get(key), "a number, 0 or more")
        for key in _HISTOGRAMS:
            bins = row.get(key)
            fits = isinstance(bins, list) and 0 < len(bins) <= _BINS and all(map(_whole, bins))
            need(fits, f"rows[{i}].{key}", bins, f"1 to {_BINS} whole numbers, a bin each")
    names = [row["name"] for row in found["rows"]]
    need("none" in names, "rows' names", names, "none among them, to compare with")
    return found


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _number(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value) and value >= 0) or _whole(value)


if __name__ == "__main__":
    run(main)
