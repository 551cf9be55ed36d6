"""From trace files, or the embedded workload, to the three encoded splits of a study."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from packd_jax.clustering import window_features
from packd_jax.config import ConfigError, FeatureConfig, TraceConfig
from packd_jax.features import Examples, concatenate, encode, example_rows, learn_pc_vocabulary
from packd_jax.traces.load_trace import LoadTrace, window_rows
from packd_jax.traces.mldpc import write_trace
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.workloads import record_workload

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """A trace and the file it is in."""

    path: str
    sha256: str
    trace: LoadTrace


@dataclass(frozen=True)
class Split:
    """Examples of one split over all traces, and the way back to the traces' windows."""

    examples: Examples
    parts: tuple[tuple[LoadTrace, np.ndarray], ...]  # per trace: its rows of the split

    def windows(self, feature: str, look_back: int) -> np.ndarray:
        """What the split's windows are clustered by, f64[N, E]; see `window_features`."""
        return np.concatenate([window_features(t, r, look_back, feature) for t, r in self.parts])


@dataclass(frozen=True)
class Splits:
    train: Split
    validation: Split
    test: Split
    pc_vocabulary: np.ndarray  # u64[V], empty for encodings without PCs


def load_sources(
    config: TraceConfig, workdir: Path, progress: Callable[[float], None] | None = None
) -> list[Source]:
    """The traces of a study: the files given, or the workload recorded into the workdir."""
    paths = list(config.paths)
    if not paths:
        path = workdir / "trace.txt.gz"
        if not path.exists():
            write_trace(path, record_workload(config.workload, progress))
        paths = [str(path)]
    traces = [read_trace(path) for path in paths]  # first, for it says what is wrong with a file
    return [Source(path, _sha256(path), trace) for path, trace in zip(paths, traces)]


def encode_splits(
    sources: Sequence[Source],
    config: TraceConfig,
    features: FeatureConfig,
    pc_vocabulary: np.ndarray | None = None,
) -> Splits:
    """Encodes all splits; the PC vocabulary is learnt on training rows unless it is given.

    Raises ConfigError when a split holds no example, naming what the trace does hold.
    """
    windows: dict[str, list[slice]] = {}
    for name in SPLITS:
        start, stop = getattr(config, name)
        windows[name] = [window_rows(s.trace, start, stop, config.unit) for s in sources]
    for name, parts in windows.items():
        for source, part in zip(sources, parts):
            rows = example_rows(part, features)
            if rows.stop <= rows.start:
                raise ConfigError(_no_rows(name, source, config, features, part))
    vocabulary = np.zeros(0, np.uint64) if pc_vocabulary is None else pc_vocabulary
    if features.encoding == "tokens" and pc_vocabulary is None:
        pcs = [s.trace.pc[part] for s, part in zip(sources, windows["train"])]
        vocabulary = learn_pc_vocabulary(pcs, features.pc_vocabulary)
    splits = {}
    for name, parts in windows.items():
        encoded = [encode(s.trace, part, features, vocabulary) for s, part in zip(sources, parts)]
        origins = tuple((s.trace, e.trace_row) for s, e in zip(sources, encoded))
        splits[name] = Split(concatenate(encoded), origins)
        if splits[name].examples.rows == 0:
            raise ConfigError(
                f"config.trace.{name}: every row has an empty label and"
                " config.features.keep_empty_labels is off; widen the window or keep such rows"
            )
    return Splits(**splits, pc_vocabulary=vocabulary)


def _no_rows(
    name: str, source: Source, config: TraceConfig, features: FeatureConfig, part: slice
) -> str:
    ids = source.trace.instr_id
    return (
        f"config.trace.{name} = {getattr(config, name)} {config.unit}: holds"
        f" {part.stop - part.start} of the {source.trace.rows} rows of {source.path} (instruction"
        f" ids {ids.min()} to {ids.max()}); expected more than look_back = {features.look_back}"
        f" and horizon = {features.horizon} rows; set other windows (percent fits any trace)"
    )


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
