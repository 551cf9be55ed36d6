"""Where a result comes from: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

_DISTRIBUTIONS = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "numpy": "numpy",
    "sklearn": "scikit-learn",
}


def provenance() -> dict[str, Any]:
    """JSON-ready facts about this process; what cannot be known here is None.

    `git_commit` is that of the checkout which holds this package, with "-dirty" behind it
    when tracked files were changed. Starts JAX's default backend.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(distribution) for name, distribution in _DISTRIBUTIONS.items()},
        },
        "git_commit": _git_commit(Path(__file__).resolve().with_name("__init__.py")),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "cpu_model": _cpu_model(Path("/proc/cpuinfo")),
        "cpu_cores": os.cpu_count(),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(file: Path) -> str | None:
    # An installed package may lie inside some other project's checkout: ask about this file.
    tracked = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return None if tracked is None else _git(file.parent, *describe)


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _cpu_model(cpuinfo: Path) -> str | None:
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None
