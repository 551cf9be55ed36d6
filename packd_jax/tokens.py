"""Numbers as tokens of a byte: deltas and PCs, and the hash by which tables find a number."""

from __future__ import annotations

import numba
import numpy as np

from packd_jax.config import FeatureConfig

# 2**64 / golden ratio: the upper bits of the product are a hash (Knuth, vol. 3, 6.4).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
def delta_token(delta, exact, log_buckets):
    """0; +1..+exact; -1..-exact; then octaves beyond exact, positive first."""
    size = abs(delta)
    if size <= exact:
        return size if delta >= 0 else exact + size
    octave = 0
    limit = 2 * exact
    while octave < log_buckets - 1 and size > limit:
        octave += 1
        limit *= 2
    return 2 * exact + 1 + octave + (0 if delta > 0 else log_buckets)


def pc_tokens(pc: np.ndarray, vocabulary: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Tokens of PCs, `[N] -> [N]`: place in the vocabulary, or a hash bucket behind it."""
    hashed = (pc * GOLDEN) >> np.uint64(32)
    token = (config.pc_vocabulary + hashed % np.uint64(config.pc_hash_buckets)).astype(np.int64)
    if len(vocabulary):
        place = np.minimum(np.searchsorted(vocabulary, pc), len(vocabulary) - 1)
        token = np.where(vocabulary[place] == pc, place, token)
    return token.astype(np.uint8)
