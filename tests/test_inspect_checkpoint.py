import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from packd_jax.checkpoints import save_checkpoint

ROOT = Path(__file__).parents[1]


def run(*arguments):
    # Without JAX_PLATFORMS, as people call it: JAX looks for every backend that it knows of.
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, "-m", "experiments.inspect_checkpoint", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    parent = tmp_path_factory.mktemp("checkpoints")
    for name, value in (("a", 1.0), ("b", np.nan)):
        meta = {"kind": "student", "metrics": {"f1": value}}
        save_checkpoint(parent / name, {"w": np.full(3, value)}, meta)
    return parent / "a", parent / "b"


def test_one_directory_is_shown_as_text(directories):
    result = run(directories[0])
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.startswith(f"{directories[0]}: student\n")
    assert "  w      3      float64  3       24     1    1     1    0\n" in result.stdout


def test_two_directories_are_compared_as_strict_json(directories):
    result = run(*directories, "--json")
    assert result.returncode == 0 and result.stderr == ""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    report = json.loads(result.stdout, parse_constant=refuse)
    assert report["metrics"] == {"f1": [1.0, None]}
    assert report["leaf_differences"] == {"w": {"max_abs": None, "relative_l2": None}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "0 directories given; expected DIR or DIR OTHER_DIR"),
        (("absent",), f"{ROOT / 'absent'}: does not exist; expected the directory of a checkpoint"),
        (("--jsn", "absent"), "Unknown command line flag 'jsn'. Did you mean: json ?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == f"inspect_checkpoint: {message}\n"
