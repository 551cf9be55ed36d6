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


class WindowTables:
    """Both tables between two chunks of a trace, empty before its first load.

    Their size does not depend on the trace's length, and any chunks give the same tokens.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.rows = 0  # loads of the trace that the tables have seen
        entries = config.local_entries if config.local_deltas else 0
        self._last_loads = (
            np.zeros(entries, np.uint64),
            np.zeros(entries, np.int64),
            np.zeros((entries, config.local_deltas), np.uint8),
            np.zeros(entries, np.uint8),
        )
        self._loads = np.zeros(config.popularity_entries, np.uint8)

    def read(self, pc: np.ndarray, block: np.ndarray, start: int = 0) -> dict[str, np.ndarray]:
        """Tokens of the next loads, `pc` u64[N] and `block` i64[N]; of those from `start` on.

        Only `local`, `confidence` and `popularity` that the configuration asks for.
        """
        config, found = self.config, {}
        if config.local_deltas:
            exact, log_buckets = config.delta_exact, config.delta_log_buckets
            tables = self._last_loads
            found["local"], confidence = _read_last_loads(
                *tables, pc, block, start, exact, log_buckets
            )
            if config.local_confidence:
                found["confidence"] = confidence
        if config.popularity_entries:
            period = config.popularity_period
            found["popularity"] = _read_popularity(self._loads, block, start, self.rows, period)
        self.rows += len(pc)
        return found


def window_tokens(
    trace: LoadTrace, rows: slice, config: FeatureConfig, tables: WindowTables | None = None
) -> dict[str, np.ndarray]:
    """Those of `local`, `confidence` and `popularity` that `config` asks for, of `rows`.

    `tables`, if given, have seen the trace up to some row before these, or none of it, and go on
    from there: chunk after chunk each load is then looked at once.
    """
    if not (config.local_deltas or config.popularity_entries):
        return {}
    tables = WindowTables(config) if tables is None else tables
    if tables.rows > rows.start or tables.config != config:
        raise ValueError(
            f"tables of {tables.rows} loads for rows from {rows.start} on: expected tables of the"
            " same configuration that have seen no load behind these; begin with new ones"
        )
    part = trace.take(slice(tables.rows, rows.stop))
    return tables.read(part.pc, part.block, rows.start - tables.rows)


@numba.njit(cache=True, nogil=True)
def _read_last_loads(tags, last, history, sure, pc, block, start, exact, log_buckets):
    entries, steps = history.shape
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
def _read_popularity(loads, block, start, before, period):
    entries = len(loads)
    tokens = np.empty((len(block) - start, len(POPULARITY_BLOCKS)), np.uint8)
    for row in range(len(block)):
        if row >= start:
            for place, distance in enumerate(POPULARITY_BLOCKS):
                count = loads[_counter(block[row] + distance, entries)]
                tokens[row - start, place] = (count > 0) + (count > 1) + (count > 3) + (count > 7)
        own = _counter(block[row], entries)
        loads[own] = min(loads[own] + 1, COUNTED)
        if (before + row + 1) % period == 0:
            for entry in range(entries):
                loads[entry] //= 2
    return tokens


@numba.njit(cache=True, nogil=True)
def _counter(block, entries):
    hashed = (np.uint64(block) * GOLDEN) >> np.uint64(32)
    return np.int64(hashed % np.uint64(entries))
