"""Traces larger than memory."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config.checks import require


@dataclass(frozen=True)
class StreamConfig:
    """When examples stay on disk, where, and how they come there."""

    in_memory_rows: int = 10_000_000  # traces of more rows, all together, are encoded to shards
    directory: str = ""  # of the shards; empty: `shards` in the workdir
    threads: int = 0  # that encode; 0: one a core

    def __post_init__(self) -> None:
        for name in ("in_memory_rows", "threads"):
            require(getattr(self, name) >= 0, f"stream.{name}", getattr(self, name), "0 or more")
