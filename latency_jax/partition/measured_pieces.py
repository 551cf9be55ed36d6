"""The measured times of a model's pieces under conditions of this machine, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from latency_jax.environment import affinity
from latency_jax.measuring.compiled_module import CompiledModule
from latency_jax.measuring.load import BackgroundLoad, Load
from latency_jax.measuring.measure import measure_many
from latency_jax.measuring.timing import CAREFUL, MeasureConfig
from latency_jax.parameters import ParameterError, Value
from latency_jax.partition.parts import Segment
from latency_jax.whole_model.graph import Graph
from latency_jax.whole_model.measured_model import WholeModel
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json


class Piece(NamedTuple):
    """The equations `start:stop` of a model's program, beside the load that is requested."""

    model: WholeModel
    load: Load
    start: int
    stop: int


class PieceTime(NamedTuple):
    """Seconds of one call, and the load that was achieved beside it."""

    latency_s: float
    load: Load


class MeasuredPieces:
    """Measures pieces, and knows from `path` (JSON) those that were measured before.

    All are timed as calls that are waited for, with what a call adds: a loop without it for the
    short ones would favour splits into short pieces. Where any of `loads` is one, all are timed
    as modules under load are. Raises ConfigError where `path` was measured in another environment
    or timed in another way, or is damaged.
    """

    def __init__(
        self,
        path: Path,
        environment_id: str,
        loads: Sequence[Load],
        config: MeasureConfig = CAREFUL,
    ) -> None:
        self._path = path
        calls = replace(config, device_below_s=0.0)
        self._config = calls.under_load() if any(map(any, loads)) else calls
        self._about = {"environment": environment_id, **asdict(self._config)}
        self._known = _read(path, self._about)

    def measure(self, graph: Graph, pieces: Sequence[Piece]) -> dict[Piece, PieceTime]:
        """The times of pieces of the captured model.

        Windows of all pieces with the same load are interleaved, so that a disturbance falls on
        all of them. Raises LoadError where the load cannot be made.
        """
        missing = [piece for piece in dict.fromkeys(pieces) if piece not in self._known]
        config = replace(self._config, chunk=max(len(missing), 1))
        for requested in dict.fromkeys(piece.load for piece in missing):
            compiled = (
                (piece, _compiled(Segment(graph, piece.start, piece.stop)))
                for piece in missing
                if piece.load == requested
            )
            on_gpu = jax.default_backend() == "gpu"
            with BackgroundLoad(requested, affinity(), on_gpu) as load:
                order = np.random.default_rng(0)
                for piece, result in measure_many(compiled, order, config, load=load):
                    self._known[piece] = PieceTime(result.latency_s, result.load)
                    self._write()
        return {piece: self._known[piece] for piece in pieces}

    def achieved(self, requested: Load) -> Load:
        """The mean over the pieces that were measured beside a requested load."""
        found = [time.load for piece, time in self._known.items() if piece.load == requested]
        return Load(*np.mean(found, axis=0).tolist())

    def _write(self) -> None:
        rows = [_to_json(piece, time) for piece, time in self._known.items()]
        write_json(self._path, {"about": self._about, "rows": rows})


def load_of(conditions: Mapping[str, Value]) -> Load:
    """The load of a device's conditions.

    Raises ParameterError for a number of threads, which only the start of a process can set.
    """
    if conditions.get("threads"):
        raise ParameterError(
            "threads", conditions["threads"], "none: start the process with taskset to measure"
        )
    return Load(*(float(conditions.get(name, 0.0)) for name in Load._fields))


def _compiled(segment: Any) -> CompiledModule:  # called like a linen module, and is none
    return CompiledModule(segment, segment.inputs)


def _to_json(piece: Piece, time: PieceTime) -> dict[str, Any]:
    return {
        **piece.model._asdict(),
        "load": piece.load._asdict(),
        "start": piece.start,
        "stop": piece.stop,
        "latency_s": time.latency_s,
        "achieved": time.load._asdict(),
    }


def _read(path: Path, about: Mapping[str, Any]) -> dict[Piece, PieceTime]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = dict(_rows(found["rows"]))
        measured = {name: found["about"][name] for name in about}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not measured pieces ({error!r}); remove it") from None
    for name, value in about.items():
        if measured[name] != value:
            raise ConfigError(
                f"{path}: measured with {name} {measured[name]}, here it is {value}; choose "
                "another --workdir"
            )
    return rows


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Piece, PieceTime]]:
    for row in rows:
        piece = Piece(
            WholeModel.from_json(row), Load(**row["load"]), int(row["start"]), int(row["stop"])
        )
        yield piece, PieceTime(float(row["latency_s"]), Load(**row["achieved"]))
