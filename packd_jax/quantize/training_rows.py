"""The rows that a checkpoint's student was trained and chosen on, if its traces are still here."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import FeatureConfig, TraceConfig, from_config_dict
from packd_jax.splits import Source, Splits, encode_splits, load_sources

# Of traces that come without their study.
_SHARES = TraceConfig(unit="percent", train=(0, 70), validation=(70, 85), test=(85, 100))


class StudyRows(NamedTuple):
    """The traces of a study, and its examples in the encoding of one of its students."""

    sources: list[Source]
    splits: Splits


def study_rows(
    directory: str | os.PathLike,
    meta: Mapping[str, Any],
    features: FeatureConfig,
    pc_vocabulary: np.ndarray,
    paths: Sequence[str] = (),
) -> StudyRows | None:
    """The rows of the study that left the checkpoint `directory` with that meta.

    Read from `paths`, or else from the files that the checkpoint names, as long as they are
    what they were: None if they are not. Raises TraceError and ConfigError as `load_sources`
    and `encode_splits` do.
    """
    windows = _windows(Path(directory), meta)
    origin = meta.get("provenance", {}).get("trace", {})
    named = [str(path) for path in origin.get("paths", [])]
    if not paths and (windows is None or not named or not all(map(os.path.isfile, named))):
        return None
    config = dataclasses.replace(windows or _SHARES, paths=tuple(paths or named))
    sources = load_sources(config, Path(directory))
    if not paths and [source.sha256 for source in sources] != origin.get("sha256"):
        return None
    return StudyRows(sources, encode_splits(sources, config, features, pc_vocabulary))


def _windows(directory: Path, meta: Mapping[str, Any]) -> TraceConfig | None:
    """The study's windows: in the checkpoint, or in the configuration of its workdir."""
    stored = meta.get("config", {}).get("trace")
    # Students lie in workdir/checkpoints/entry/arm/seed.
    above = directory.resolve().parents
    if stored is None and len(above) > 3 and (above[3] / "config.json").is_file():
        stored = json.loads((above[3] / "config.json").read_text()).get("trace")
    return None if stored is None else from_config_dict(TraceConfig, stored, "config.trace")
