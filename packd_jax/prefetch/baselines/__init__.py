"""Classical prefetchers, by the name that a table shows."""

from __future__ import annotations

from collections.abc import Callable

from packd_jax.prefetch.baselines import (
    best_offset,
    next_line,
    signature_path,
    stream,
    stride,
    temporal,
)
from packd_jax.prefetch.prefetcher import Prefetcher, no_prefetcher

BASELINES: dict[str, Callable[[], Prefetcher]] = {
    "none": no_prefetcher,
    "next_line": next_line.prefetcher,
    "stride": stride.prefetcher,
    "stream": stream.prefetcher,
    "best_offset": best_offset.prefetcher,
    "signature_path": signature_path.prefetcher,
    "temporal": temporal.prefetcher,
}
