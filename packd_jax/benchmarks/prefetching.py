"""The prefetch simulator with every baseline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from packd_jax.benchmarks.scales import Scale, accesses
from packd_jax.benchmarks.timing import Line, make_line, repeat
from packd_jax.prefetch.baselines import BASELINES
from packd_jax.prefetch.oracle import oracle
from packd_jax.prefetch.simulator import simulate


def simulator(scale: Scale, repeats: int) -> Iterator[Line]:
    """Simulating a prefetcher, its own work included; one core."""
    trace = accesses(scale, scale.trace_rows)
    prefetchers = {name: make() for name, make in BASELINES.items()} | {"oracle": oracle(trace)}
    for name, prefetcher in prefetchers.items():
        seconds = repeat(partial(simulate, trace, prefetcher), repeats)
        yield make_line(f"simulator {name}", "accesses/s", trace.rows / seconds)
