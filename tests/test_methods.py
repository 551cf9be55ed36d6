import subprocess
import sys
from pathlib import Path

import pytest

from latency_jax.measuring.methods import Methods, as_markdown, compare_methods
from latency_jax.measuring.timing import MeasureConfig
from latency_jax.parameters import ModuleConfig

DENSE = ModuleConfig("dense", {"in_features": 64, "out_features": 32}, {"batch_size": 8})
QUICK = MeasureConfig(windows=1, max_windows=1, window_s=1e-3, repetition_s=1e-4)


def test_a_module_is_timed_both_ways():
    (row,) = compare_methods([DENSE], QUICK, passes=2)
    assert row.config == DENSE and row.wall_s > 0 and row.ratio == row.device_s / row.wall_s
    with pytest.raises(RuntimeError, match=r"dense.in_features = -1"):
        list(compare_methods([ModuleConfig("dense", {"in_features": -1}, {})], QUICK))


def test_the_table_has_quartiles_of_the_ratios():
    rows = [Methods(DENSE, 1e-3, ratio * 1e-3) for ratio in (0.9, 1.0, 1.1, 1.3, 1.5)]
    lines = as_markdown(rows).splitlines()
    assert lines[2] == "| dense | 1 | 0.9 | 0.900 |"
    assert lines[-1] == "| median (quartiles) | | | 1.100 (1.000 to 1.300) |" and len(lines) == 8


def test_the_command(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "experiments.compare_timing", "--modules=1", "--work=1e5"]
        + [f"--workdir={tmp_path}"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "methods.md").read_text() == run.stdout
    assert run.stdout.count("\n") == 4
