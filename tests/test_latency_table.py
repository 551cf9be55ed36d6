import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def fit(directory, within_10, kinds=("dense",)):
    """results.json of split seeds whose shares within 10 % are given."""
    scores = [{"mape": 0.05, "within_10": share, "r2": 0.9} for share in within_10]
    rows = [{"kind": kind, "regressor": "knn", **s} for s in scores for kind in kinds]
    sets = [
        {
            "set": name,
            "macro": {**s, "mape": 0.04},
            "kinds": {kind: {**s, "mape": 0.03} for kind in kinds},
        }
        for s in scores
        for name in ("time", "knn")
    ]
    directory.mkdir()
    (directory / "results.json").write_text(json.dumps({"rows": rows, "selection": sets}))
    return directory


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.latency_table", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_means_over_split_seeds_and_the_interval_of_the_share(tmp_path):
    shares = [0.7, 0.8, 0.9]
    one = fit(tmp_path / "one", shares)
    several = fit(tmp_path / "several", [0.5], kinds=("dense", "conv2d"))
    run = command(one, several, f"--out={tmp_path / 'table.md'}")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "| | one | several |" and (tmp_path / "table.md").read_text() == run.stdout
    half_width = 4.303 * np.std(shares, ddof=1) / 3**0.5
    assert f"80.0 ± {100 * half_width:.1f}" in lines[2]
    assert lines[2] == "| knn | 5.00 / 80.0 ± 24.8 / 0.900 | 4.00 / 50.0 / 0.900 |"
    assert lines[3] == "| selection, time | 3.00 / 80.0 ± 24.8 / 0.900 | 4.00 / 50.0 / 0.900 |"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "no fit given"), (["missing"], "missing/results.json: no such file")],
)
def test_mistakes_are_one_line(arguments, told):
    run = command(*arguments)
    assert run.returncode == 2 and told in run.stderr and run.stderr.count("\n") == 1
