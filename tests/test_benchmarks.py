"""Measurements at smoke size: every line is there and is a number; the arithmetic by hand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from packd_jax.benchmarks.run import MEASUREMENTS, run_benchmarks
from packd_jax.benchmarks.scales import SMOKE, accesses
from packd_jax.benchmarks.timing import compare, format_line, make_line, take_turns
from packd_jax.config import ConfigError

ROOT = Path(__file__).parent.parent


def test_a_line_is_median_and_quartiles():
    line = make_line("x", "rows/s", np.array([1.0, 5.0, 2.0, 4.0, 3.0]))
    assert (line.median, line.quartiles, line.repeats) == (3.0, (2.0, 4.0), 5)


def test_a_comparison_is_the_median_of_paired_ratios():
    ours, other = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    line = compare("x", "steps/s", 8, ours, "plain", other)
    assert line.median == 4.0 and line.ratio == 1.0 and line.ratio_quartiles == (0.75, 1.5)
    assert "1.000 (0.750 to 1.500) times as fast as plain" in format_line(line)


def test_every_round_begins_with_another_call():
    called = []
    seconds = take_turns({n: lambda n=n: called.append(n) for n in "abc"}, 3)
    assert called == [*"abc", *"abc", *"bca", *"cab"]
    assert all(len(values) == 3 and (values >= 0).all() for values in seconds.values())


def test_accesses_begin_again_where_the_workload_ends():
    trace = accesses(SMOKE, 4_000)
    assert trace.rows == 4_000 and len({len(column) for column in trace}) == 1


def test_an_unknown_measurement_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean features"):
        run_benchmarks(["feature"], SMOKE, 1)


def test_the_command_measures_everything(tmp_path):
    out = tmp_path / "lines.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.benchmark", "--scale=smoke"),
            *("--repeats=2", f"--out={out}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    names = {line["name"].split()[0] for line in found["lines"]}
    assert len(names) >= len(MEASUREMENTS) - 1 and found["environment"]["versions"]["jax"]
    for line in found["lines"]:
        assert line["median"] > 0 and line["quartiles"][0] <= line["median"], line
        assert line["against"] is None or line["ratio"] > 0
    assert any(line["against"] for line in found["lines"])
