"""A bound for prefetchers: one that knows the future loads."""

from __future__ import annotations

import numpy as np

from packd_jax.prefetch.prefetcher import Prefetcher, precomputed
from packd_jax.traces.load_trace import LoadTrace

AHEAD = 32


def oracle(trace: LoadTrace, ahead: int = AHEAD) -> Prefetcher:
    """Prefetches at every load the block of the load `ahead` loads later.

    A bound on what a prefetcher with one prefetch a load can do, not on all of them: it neither
    chooses the lead by latency nor saves the prefetches of blocks that are there anyway.
    """
    block = trace.block
    later = np.full((trace.rows, 1), -1, np.int64)
    later[:-ahead, 0] = block[ahead:]
    return precomputed("oracle", later, 0)
