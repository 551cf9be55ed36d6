"""What a latency depends on besides the module: machine, versions, settings; and a short id."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from packd_jax.provenance import provenance

# Python, the commit and the load of the moment come and go on the same machine; these do not.
_VERSIONS = ("jax", "jaxlib", "flax")
_FACTS = ("backend", "device_kind", "cpu_model", "cpu_flags", "threads", "xla_flags", "jax_config")
_CONFIG = ("jax_enable_x64", "jax_default_matmul_precision", "jax_cpu_enable_async_dispatch")


def environment() -> dict[str, Any]:
    """JSON-ready facts about this process and its machine; what cannot be known is None.

    `threads` is the number of cores this process may run on (its affinity), `memory_bytes` all
    memory of the machine, `load_average` processes over 1, 5 and 15 minutes, `id` that of
    `environment_id`. Starts JAX's default backend.
    """
    cores = affinity()
    facts = {
        **provenance(),
        "affinity": cores,
        "threads": len(cores),
        "memory_bytes": _memory_bytes(),
        "cpu_flags": _cpu_flags(Path("/proc/cpuinfo")),
        "xla_flags": " ".join(os.environ.get("XLA_FLAGS", "").split()),
        "jax_config": {name: getattr(jax.config, name, None) for name in _CONFIG},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
    return {"id": environment_id(facts), **facts}


def environment_id(facts: Mapping[str, Any]) -> str:
    """12 hex digits of the facts that latency depends on; two runs with one id are comparable.

    Which cores of a machine are used and how busy they are is recorded, but is no part of it.
    """
    what = {name: facts[name] for name in _FACTS}
    what["versions"] = {name: facts["versions"][name] for name in _VERSIONS}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_inline() -> None:
    """Makes calls run on the thread that makes them, on CPUs: to be said before JAX is first used.

    Otherwise each is handed to another thread, and how long that takes to wake, which varies, is
    most of what a short call takes.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def affinity() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _cpu_flags(cpuinfo: Path) -> str | None:
    """The vector instruction sets, for which XLA generates different code."""
    if not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            sets = ("avx", "fma", "amx", "sse4", "f16c", "neon", "asimd", "sve")
            return " ".join(sorted(flag for flag in value.split() if flag.startswith(sets)))
    return None
