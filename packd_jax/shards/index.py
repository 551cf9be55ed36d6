"""What a directory of shards holds: `index.json`, which says it, and two arrays beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import CacheConfig, ConfigError, FeatureConfig, from_config_dict, to_json_dict
from packd_jax.json_files import write_json
from packd_jax.shards.cut_trace import TraceFacts
from packd_jax.shards.record_format import RECORD_ROWS, record_columns, stored_features
from packd_jax.staged_file import staged
from packd_jax.traces.load_trace import TraceError

FORMAT = 1
INDEX = "index.json"
_ARRAYS = ("pcs", "latest_instr_id")


class Origin(NamedTuple):
    """What shards are made from: equal origins have equal shards."""

    path: str  # where the trace was read; another path of the same bytes is the same origin
    sha256: str
    size_bytes: int
    features: FeatureConfig
    cache: CacheConfig
    shard_records: int = 1024  # records in a shard, but for the last one

    @property
    def shard_rows(self) -> int:
        return self.shard_records * RECORD_ROWS

    def json(self) -> dict[str, Any]:
        """All of it but the path, as the index has it."""
        columns = [column._asdict() for column in record_columns(self.features)]
        return {
            "format": FORMAT,
            "trace": {"sha256": self.sha256, "size_bytes": self.size_bytes},
            "features": to_json_dict(stored_features(self.features)),
            "cache": to_json_dict(self.cache),
            "record_rows": RECORD_ROWS,
            "shard_records": self.shard_records,
            "columns": json.loads(json.dumps(columns)),
        }

    @property
    def key(self) -> str:
        """A name for the directory of these shards, which no other origin has."""
        return hashlib.sha256(json.dumps(self.json(), sort_keys=True).encode()).hexdigest()[:16]


def claim(directory: Path, origin: Origin) -> bool:
    """Makes the directory that of these shards; says whether they are all there already.

    Raises ConfigError when it holds shards of another trace or configuration, naming what differs.
    """
    path = directory / INDEX
    if not path.exists():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_json(path, {**origin.json(), "path": origin.path, "facts": None})
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"{directory}: shards cannot be kept there ({reason}); name another directory by"
                " config.stream.directory"
            ) from error
        return False
    found = _read_json(path)
    mine = origin.json()
    differing = [key for key, value in mine.items() if found.get(key) != value]
    if differing:
        raise ConfigError(
            f"{directory} holds shards of another origin: {', '.join(differing)} differ from those"
            f" of {origin.path}; name another directory, or remove this one"
        )
    return found["facts"] is not None


def write_facts(directory: Path, origin: Origin, facts: TraceFacts) -> None:
    """Completes the index: from now on the shards can be read."""
    for name in _ARRAYS:
        with staged(directory / f"{name}.npy") as temporary:
            np.save(temporary, getattr(facts, name), allow_pickle=False)
    plain = {k: v for k, v in facts._asdict().items() if k not in _ARRAYS}
    write_json(directory / INDEX, {**origin.json(), "path": origin.path, "facts": plain})


def read_index(directory: Path) -> tuple[Origin, TraceFacts]:
    """The index of shards that are complete. TraceError if it is missing, partial or damaged."""
    path = directory / INDEX
    found = _read_json(path)
    if found.get("format") != FORMAT:
        raise TraceError(path, "format", repr(found.get("format")), f"{FORMAT}; encode it anew")
    try:
        features = from_config_dict(FeatureConfig, found["features"])
        cache = from_config_dict(CacheConfig, found["cache"])
        trace = found["trace"]
        origin = Origin(
            found["path"],
            trace["sha256"],
            trace["size_bytes"],
            features,
            cache,
            found["shard_records"],
        )
        if origin.json() != {key: found[key] for key in origin.json()}:
            raise ConfigError("the columns are not those of the configuration")
        plain = found["facts"]
        if plain is None:
            raise TraceError(
                path, "facts", "none yet", "all shards; the command that began them goes on"
            )
        arrays = {name: np.load(directory / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
        facts = TraceFacts(
            rows=plain["rows"],
            first_instr_id=np.array(plain["first_instr_id"], np.int64),
            last_instr_id=np.array(plain["last_instr_id"], np.int64),
            instr_ids=tuple(plain["instr_ids"]),
            **arrays,
        )
    except (KeyError, TypeError, OSError, EOFError, ConfigError) as error:
        raise _damaged(path, error) from error
    except ValueError as error:
        if isinstance(error, TraceError):
            raise
        raise _damaged(path, error) from error
    return origin, facts


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise TraceError(path, "file", "not there", "the index of a directory of shards") from error
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TraceError:
    expected = "the index as it was written; remove the directory, and encode the trace again"
    return TraceError(path, "index", f"damaged ({error})", expected)
