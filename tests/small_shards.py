"""Traces of a few records for tests, with ids that step back, rare PCs, and all kinds of deltas."""

import dataclasses

import numpy as np

from packd_jax.config import FeatureConfig
from packd_jax.shards.encode_trace import encode_trace, trace_origin
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.mldpc import write_trace

TOKENS = FeatureConfig(
    look_back=5, horizon=9, delta_bound=16, delta_exact=8, delta_log_buckets=3, pc_vocabulary=6
)
ALL = dataclasses.replace(
    TOKENS,
    local_deltas=3,
    local_entries=16,
    local_confidence=True,
    popularity_entries=64,
    miss_labels=True,
    delta_from="previous",
)
SEGMENTS = dataclasses.replace(TOKENS, encoding="segments")
FEATURES = {"tokens": TOKENS, "all tokens": ALL, "segments": SEGMENTS}


def trace(rows, seed=0, pcs=700):
    rng = np.random.default_rng(seed)
    jumps = np.where(
        rng.random(rows) < 0.9, rng.integers(-6, 7, rows), rng.integers(-9e6, 9e6, rows)
    )
    block = 2**40 + np.cumsum(jumps)
    return LoadTrace(
        np.maximum(np.arange(rows) * 7 + rng.integers(-60, 60, rows), 0),
        np.arange(rows) * 5,
        (64 * block + rng.integers(0, 64, rows)).astype(np.uint64),
        (0x400000 + 4 * rng.zipf(1.3, rows).clip(max=pcs)).astype(np.uint64),
        rng.random(rows) < 0.4,
    )


def write(path, rows, seed=0):
    """The trace, written to `path`."""
    made = trace(rows, seed)
    write_trace(path, made)
    return made


def encoded(path, features, directory=None, shard_records=2, threads=2, **options):
    origin = trace_origin(path, features, shard_records=shard_records)
    directory = directory or path.parent / f"shards-{path.stem}-{origin.key}"
    return encode_trace(origin, directory, threads, **options)
