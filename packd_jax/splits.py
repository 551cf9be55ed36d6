"""From traces, in memory or too long for it, to the three encoded splits of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packd_jax.clustering import window_features
from packd_jax.config import ConfigError, FeatureConfig, TraceConfig
from packd_jax.example_source import ExampleSource
from packd_jax.features import (
    concatenate,
    encode,
    example_rows,
    learn_pc_vocabulary,
    most_frequent_pcs,
)
from packd_jax.shards.examples import Part, ShardedExamples
from packd_jax.shards.store import ShardStore
from packd_jax.sources import AnySource, LongSource, Progress
from packd_jax.sources import Source as Source
from packd_jax.sources import load_sources as load_sources
from packd_jax.sources import open_sources as open_sources
from packd_jax.traces.load_trace import LoadTrace, window_rows

SPLITS = ("train", "validation", "test")
Trace = LoadTrace | ShardStore


@dataclass(frozen=True)
class Split:
    """Examples of one split over all traces, and the way back to the traces' windows."""

    examples: ExampleSource
    # Per trace in memory: its rows of the split. Examples in shards know their own.
    parts: tuple[tuple[LoadTrace, np.ndarray], ...]

    def windows(
        self, feature: str, look_back: int, rows: slice | np.ndarray = slice(None)
    ) -> np.ndarray:
        """What the windows of the split's rows are clustered by, f64[n, E]; `window_features`."""
        if isinstance(self.examples, ShardedExamples):
            return self.examples.windows(feature, look_back, rows)
        total = self.examples.rows
        asked = np.arange(*rows.indices(total)) if isinstance(rows, slice) else rows
        found, start = None, 0
        for trace, own in self.parts:
            here = (start <= asked) & (asked < start + len(own))
            values = window_features(trace, own[asked[here] - start], look_back, feature)
            found = np.empty((len(asked), values.shape[1])) if found is None else found
            found[here] = values
            start += len(own)
        assert found is not None
        return found


@dataclass(frozen=True)
class Splits:
    train: Split
    validation: Split
    test: Split
    pc_vocabulary: np.ndarray  # u64[V], empty for encodings without PCs


def encode_splits(
    sources: Sequence[AnySource],
    config: TraceConfig,
    features: FeatureConfig,
    pc_vocabulary: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Encodes all splits; the PC vocabulary is learnt on training rows unless it is given.

    Long sources are encoded to shards first (`progress` is told the share of the current file), or
    found encoded; their rows are the same. Raises ConfigError when a split holds no example,
    naming what the trace does hold.
    """
    traces = [
        s.store(features, progress) if isinstance(s, LongSource) else s.trace for s in sources
    ]
    windows: dict[str, list[slice]] = {}
    for name in SPLITS:
        start, stop = getattr(config, name)
        windows[name] = [_window_rows(trace, start, stop, config.unit) for trace in traces]
    for name, parts in windows.items():
        for source, trace, part in zip(sources, traces, parts):
            rows = example_rows(part, features)
            if rows.stop <= rows.start:
                raise ConfigError(_no_rows(name, source, trace, config, features, part))
    vocabulary = np.zeros(0, np.uint64) if pc_vocabulary is None else pc_vocabulary
    if features.encoding == "tokens" and pc_vocabulary is None:
        vocabulary = _learn_vocabulary(traces, windows["train"], features)
    splits = {
        name: _encode_split(traces, parts, features, vocabulary) for name, parts in windows.items()
    }
    for name, split in splits.items():
        if split.examples.rows == 0:
            raise ConfigError(
                f"config.trace.{name}: every row has an empty label and"
                " config.features.keep_empty_labels is off; widen the window or keep such rows"
            )
    return Splits(**splits, pc_vocabulary=vocabulary)


def _encode_split(
    traces: Sequence[Trace],
    windows: Sequence[slice],
    features: FeatureConfig,
    vocabulary: np.ndarray,
) -> Split:
    stored = [trace for trace in traces if isinstance(trace, ShardStore)]
    if stored:
        parts = [Part(s, example_rows(w, features)) for s, w in zip(stored, windows)]
        return Split(ShardedExamples(parts, features, vocabulary), ())
    held = [trace for trace in traces if isinstance(trace, LoadTrace)]
    encoded = [encode(trace, w, features, vocabulary) for trace, w in zip(held, windows)]
    origins = tuple((trace, e.trace_row) for trace, e in zip(held, encoded))
    return Split(concatenate(encoded), origins)


def _window_rows(trace: Trace, start: int, stop: int, unit: str) -> slice:
    if isinstance(trace, ShardStore):
        return trace.window_rows(start, stop, unit)
    return window_rows(trace, start, stop, unit)


def _learn_vocabulary(
    traces: Sequence[Trace], windows: Sequence[slice], features: FeatureConfig
) -> np.ndarray:
    size, pcs, counts = features.pc_vocabulary, [], []
    for trace, window in zip(traces, windows):
        if isinstance(trace, ShardStore):
            pcs.append(trace.facts.pcs)
            counts.append(trace.pc_counts(window))
        else:
            pcs.append(trace.pc[window])
    if not counts:
        return learn_pc_vocabulary(pcs, size)
    return most_frequent_pcs(np.concatenate(pcs), np.concatenate(counts), size)


def _no_rows(
    name: str,
    source: AnySource,
    trace: Trace,
    config: TraceConfig,
    features: FeatureConfig,
    part: slice,
) -> str:
    if isinstance(trace, ShardStore):
        rows, (first, last) = trace.facts.rows, trace.facts.instr_ids
    else:
        rows, first, last = trace.rows, int(trace.instr_id.min()), int(trace.instr_id.max())
    return (
        f"config.trace.{name} = {getattr(config, name)} {config.unit}: holds"
        f" {part.stop - part.start} of the {rows} rows of {source.path} (instruction"
        f" ids {first} to {last}); expected more than look_back = {features.look_back}"
        f" and horizon = {features.horizon} rows; set other windows (percent fits any trace)"
    )
