"""Traces larger than memory."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config.checks import require


@dataclass(frozen=True)
class StreamConfig:
    """When examples stay on disk, where, and how they are read."""

    in_memory_rows: int = 10_000_000  # traces of more rows, all together, are encoded to shards
    directory: str = ""  # of the shards; empty: `shards` in the workdir
    threads: int = 0  # that encode, and that read; 0: one a core
    prefetch_windows: int = 2  # that are read before they are asked for

    def __post_init__(self) -> None:
        for name in ("in_memory_rows", "threads", "prefetch_windows"):
            require(getattr(self, name) >= 0, f"stream.{name}", getattr(self, name), "0 or more")
