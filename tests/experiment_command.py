"""Experiments as a user starts them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(name, *arguments, expect=0):
    """The ended process of `python -m experiments.NAME`; its exit status must be as expected."""
    run = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == expect, run.stderr
    return run
