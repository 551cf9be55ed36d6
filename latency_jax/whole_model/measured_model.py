"""The measured latencies of whole models, to hold predictions against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from latency_jax.environment import affinity
from latency_jax.measuring.compiled_module import CompiledModule, sentinel_module
from latency_jax.measuring.load import BackgroundLoad, Load
from latency_jax.measuring.measure import measure_many
from latency_jax.measuring.timing import CAREFUL, MeasureConfig
from latency_jax.parameters import ParameterError, Value
from latency_jax.whole_model.named_model import make_model, parse_inputs
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json


class WholeModel(NamedTuple):
    """A model of a study: its factory, as --model names it, and its inputs."""

    factory: str
    inputs: tuple[str, ...]
    batch_size: int

    def shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The inputs with the batch size as their first length."""
        return tuple(
            jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), x.dtype)
            for x in parse_inputs(self.inputs)
        )

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> WholeModel:
        """What `_asdict` became in a file. Raises KeyError, TypeError or ValueError otherwise."""
        return cls(str(row["factory"]), tuple(row["inputs"]), int(row["batch_size"]))

    def compiled(self) -> CompiledModule:
        return CompiledModule(make_model(self.factory), self.shapes())


def measure_model(
    module: Any,
    inputs: Sequence[jax.ShapeDtypeStruct],
    conditions: Mapping[str, Value] | None = None,
    config: MeasureConfig = CAREFUL,
) -> float:
    """Seconds of one call of a linen module (or Segment) under conditions that are made for it.

    Raises ParameterError for a number of threads, which only the start of a process can set, and
    LoadError where the load cannot be made.
    """
    conditions = conditions or {}
    if conditions.get("threads"):
        raise ParameterError(
            "threads", conditions["threads"], "none: start the process with taskset to measure"
        )
    shares = {name: float(conditions.get(name, 0.0)) for name in Load._fields}
    compiled = CompiledModule(module, tuple(inputs))
    with BackgroundLoad(Load(**shares), affinity(), jax.default_backend() == "gpu") as load:
        found = measure_many(
            [(None, compiled)],
            np.random.default_rng(0),  # of one module
            config,
            sentinel=sentinel_module(),
            load=load,
        )
        return next(result.latency_s for _, result in found)


def measure_twice(
    models: Sequence[WholeModel],
    path: Path,
    environment_id: str,
    config: MeasureConfig = CAREFUL,
) -> dict[WholeModel, tuple[float, float]]:
    """Seconds of one call of each model, all once and then all again: predictions can't be better
    than the two agree.

    `path` (JSON) keeps what was measured before. Windows of all models are interleaved, so a
    disturbance hits a few windows of each rather than all of one. Raises ConfigError where
    `path` was measured in another environment.
    """
    known = _read(path, environment_id)
    for earlier in range(2):
        missing = [model for model in models if len(known.get(model, ())) == earlier]
        compiled = ((model, model.compiled()) for model in missing)
        order = np.random.default_rng(earlier)
        for model, result in measure_many(compiled, order, config, sentinel=sentinel_module()):
            known[model] = (*known.get(model, ()), result.latency_s)
            rows = [{**m._asdict(), "latency_s": seconds} for m, seconds in known.items()]
            write_json(path, {"environment": environment_id, "rows": rows})
    return {model: (known[model][0], known[model][1]) for model in models}


def _read(path: Path, environment_id: str) -> dict[WholeModel, tuple[float, ...]]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {
            WholeModel.from_json(row): tuple(map(float, row["latency_s"])) for row in found["rows"]
        }
        measured_in = found["environment"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not measured latencies ({error!r}); remove it") from None
    if measured_in != environment_id:
        raise ConfigError(
            f"{path}: measured in environment {measured_in}, this is {environment_id}; choose "
            "another --workdir"
        )
    return rows
