"""Tokens of a window as a whole, from small tables that hardware would keep between loads.

    local       u8[N, P]  the last P block deltas between loads of the current PC, oldest first
    confidence  u8[N]     how steady these are: 0 to 7, up when a delta's token repeats, else down
    popularity  u8[N, 4]  how often the current block, and those 1, 2 and 4 behind it, were loaded

Both tables are filled from the first load of the trace on, so tokens do not depend on which rows
are asked for. A table of `local_entries` is indexed by a hash of the PC; each entry holds 16 other
bits of the hash, the PC's last block, its last P tokens and the counter, all of which a load of
another PC sets anew. The row's own load is in it. `popularity_entries` counters, indexed by a hash
of the block, count to 15 and are all halved after every `popularity_period` loads, so that old
popularity fades. A row's own load is counted after its tokens are read: 0 is a block never seen.
"""

from __future__ import annotations

import numba
import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.config.features import CONFIDENCES, POPULARITY_BLOCKS
from packd_jax.tokens import GOLDEN, delta_token
from packd_jax.traces.load_trace import LoadTrace

COUNTED = 15  # loads of a block: what 4 bits hold


def window_tokens(trace: LoadTrace, rows: slice, config: FeatureConfig) -> dict[str, np.ndarray]:
    """Those of `local`, `confidence` and `popularity` that `config` asks for, of `rows`."""
    found: dict[str, np.ndarray] = {}
    if not (config.local_deltas or config.popularity_entries):
        return found
    block = trace.take(slice(rows.stop)).block
    if config.local_deltas:
        pc, entries = trace.pc[: rows.stop], config.local_entries
        exact, log_buckets = config.delta_exact, config.delta_log_buckets
        found["local"], confidence = _last_loads(
            pc, block, rows.start, entries, config.local_deltas, exact, log_buckets
        )
        if config.local_confidence:
            found["confidence"] = confidence
    if config.popularity_entries:
        found["popularity"] = _popularity(
            block, rows.start, config.popularity_entries, config.popularity_period
        )
    return found


@numba.njit(cache=True, nogil=True)
def _last_loads(pc, block, start, entries, steps, exact, log_buckets):
    tags = np.zeros(entries, np.uint64)
    last = np.zeros(entries, np.int64)
    history = np.zeros((entries, steps), np.uint8)
    sure = np.zeros(entries, np.uint8)
    windows = np.empty((len(pc) - start, steps), np.uint8)
    confidence = np.empty(len(pc) - start, np.uint8)
    for row in range(len(pc)):
        hashed = pc[row] * GOLDEN
        own = np.int64((hashed >> np.uint64(32)) % np.uint64(entries))
        tag = hashed >> np.uint64(48)
        if tags[own] == tag:
            token = np.uint8(delta_token(block[row] - last[own], exact, log_buckets))
            if token == history[own, steps - 1]:
                sure[own] = min(sure[own] + 1, CONFIDENCES - 1)
            else:
                sure[own] = max(sure[own], 1) - 1
            for step in range(steps - 1):
                history[own, step] = history[own, step + 1]
            history[own, steps - 1] = token
        else:
            tags[own] = tag
            sure[own] = 0
            for step in range(steps):
                history[own, step] = 0
        last[own] = block[row]
        if row >= start:
            confidence[row - start] = sure[own]
            for step in range(steps):
                windows[row - start, step] = history[own, step]
    return windows, confidence


@numba.njit(cache=True, nogil=True)
def _popularity(block, start, entries, period):
    loads = np.zeros(entries, np.uint8)
    tokens = np.empty((len(block) - start, len(POPULARITY_BLOCKS)), np.uint8)
    for row in range(len(block)):
        if row >= start:
            for place, distance in enumerate(POPULARITY_BLOCKS):
                count = loads[_counter(block[row] + distance, entries)]
                tokens[row - start, place] = (count > 0) + (count > 1) + (count > 3) + (count > 7)
        own = _counter(block[row], entries)
        loads[own] = min(loads[own] + 1, COUNTED)
        if (row + 1) % period == 0:
            for entry in range(entries):
                loads[entry] //= 2
    return tokens


@numba.njit(cache=True, nogil=True)
def _counter(block, entries):
    hashed = (np.uint64(block) * GOLDEN) >> np.uint64(32)
    return np.int64(hashed % np.uint64(entries))
