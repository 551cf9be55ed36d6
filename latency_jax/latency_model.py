"""A LatencyModel: what a machine needs for each kind of module, in one file that travels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from latency_jax.artifacts import ArtifactError, read_artifact, to_json, write_artifact
from latency_jax.devices import FLOPS, NAME, Device, find_device, is_told
from latency_jax.intervals import Domain, Interval
from latency_jax.parameters import check_known
from latency_jax.regressors import Regressor, make_regressor
from latency_jax.selection import digest
from latency_jax.table import Table, TableError, make_table

FORMAT = "latency_jax latency model"
VERSION = 2
_OLDEST = 1  # says nothing of devices


class Prediction(NamedTuple):
    """For N rows of one kind. Where `in_domain` is False the interval promises nothing."""

    latency: np.ndarray  # f64[N], s
    low: np.ndarray  # f64[N], s
    high: np.ndarray  # f64[N], s; infinity where too few rows were there to say
    in_domain: np.ndarray  # bool[N], whether training held anything like it


class KindModel(NamedTuple):
    """All about one kind."""

    regressor: Regressor
    interval: Interval
    domain: Domain


@dataclass(frozen=True)
class LatencyModel:
    """Predicts the latency of modules of several kinds on one machine, under given conditions.

    `environment` is that of the measurements, as latency_jax.environment gives it. `correction`
    is what whole models take beside their modules, None until it is fitted. `about` says how the
    model came to be: scores, repeatability, and what else its maker wants to be remembered. One
    that was fitted to several `devices` predicts for `device`, which `for_device` chooses; in a
    model of one machine `device` describes it, where anything is known.
    """

    models: Mapping[str, KindModel]
    environment: Mapping[str, Any]
    correction: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    devices: Mapping[str, Device] = field(default_factory=dict)
    device: Device | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.models)

    def columns(self, kind: str) -> tuple[str, ...]:
        """The names of the columns that `predict` needs for the kind."""
        domain = self._model(kind).domain
        told = self._told(domain)
        return tuple(name for name in (*domain.ranges, *domain.categories) if name not in told)

    def for_device(self, device: Device | str) -> LatencyModel:
        """This model for a device by the name of one of `devices`, or for any that is described.

        What it says of a device that it was not fitted to is flagged as outside of its domain.
        Raises ParameterError for an unknown name, and TableError for a model of one machine.
        """
        if not self.devices:
            raise TableError(
                "the latency model was fitted to one machine alone: experiments."
                "recalibrate_latency makes one for another device from 10 measurements or more"
            )
        known = find_device(device, self.devices.values()) if isinstance(device, str) else device
        environments = self.about.get("environments", {})
        return replace(self, device=known, environment=environments.get(known.name, {}))

    def predict(self, kind: str, columns: Mapping[str, np.ndarray]) -> Prediction:
        """Predicts N rows of one kind from its columns, each [N]; others are ignored.

        Raises ParameterError for a kind that the model does not know, and TableError for columns
        that are missing, of different lengths, of another type than in training, or not finite,
        and where no device is chosen.
        """
        model = self._model(kind)
        rows = len(next(iter(columns.values()), ()))
        told = self._told(model.domain)
        if told:
            columns = {**columns, **{name: np.full(rows, value) for name, value in told.items()}}
        elif is_told(model.domain.ranges) and FLOPS not in columns:
            raise TableError(
                f"the latency model is of several devices: choose one with for_device, of "
                f"{', '.join(map(repr, self.devices))} or described by a Device"
            )
        table = make_table(kind, columns, np.ones(rows))
        latency = model.regressor.predict(table)
        low, high = model.interval.bounds(latency)
        return Prediction(latency, low, high, model.domain.contains(table))

    @property
    def size_bytes(self) -> int:
        """Bytes of all regressors; files that several of them share count once."""
        return sum(map(len, self._files()[1].values()))

    def save(self, path: str | os.PathLike) -> None:
        """Writes one file where the path ends in ".zip", else a directory. No pickle inside."""
        records, contents = self._files()
        record = {
            "kinds": records,
            "environment": dict(self.environment),
            "correction": None if self.correction is None else dict(self.correction),
            "about": dict(self.about),
            "devices": [device.to_json() for device in self.devices.values()],
            "device": None if self.device is None else self.device.to_json(),
        }
        write_artifact(path, FORMAT, VERSION, {"model.json": to_json(record), **contents})

    @classmethod
    def load(cls, path: str | os.PathLike) -> LatencyModel:
        """A model that predicts as the saved one did. Raises ArtifactError, see artifacts.py."""
        files = read_artifact(path, FORMAT, VERSION, _OLDEST)
        try:
            record = json.loads(files["model.json"])
            models = {str(k): _kind_model(k, r, files) for k, r in record["kinds"].items()}
            devices = [Device.from_json(values) for values in record.get("devices", ())]
            return cls(
                models,
                record["environment"],
                record["correction"],
                record["about"],
                {device.name: device for device in devices},
                None if record.get("device") is None else Device.from_json(record["device"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(path, f"holds no latency model: {error}") from error

    def _told(self, domain: Domain) -> dict[str, Any]:
        """The columns that say which device, where the kind was learnt with them."""
        if self.device is None or not is_told(domain.ranges):
            return {}
        return {NAME: self.device.name, **self.device.columns}

    def _model(self, kind: str) -> KindModel:
        check_known(kind, self.models, "kind of this latency model")
        return self.models[kind]

    def _files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(what stands in model.json of each kind, contents by name: equal ones once)."""
        records, contents = {}, {}
        for kind, (regressor, interval, domain) in self.models.items():
            files = regressor.to_files()
            names = {name: f"files/{digest(data)}-{name}" for name, data in files.items()}
            contents.update({names[name]: data for name, data in files.items()})
            records[kind] = {
                "regressor": regressor.name,
                "files": names,
                "interval": interval.to_json(),
                "domain": domain.to_json(),
            }
        return records, contents


def _kind_model(kind: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> KindModel:
    own = {name: files[stored] for name, stored in record["files"].items()}
    regressor = make_regressor(record["regressor"], kind).restore(own)
    domain = Domain.from_json(record["domain"])
    return KindModel(regressor, Interval.from_json(record["interval"]), domain)


def kind_model(regressor: Regressor, train: Table, validation: Table) -> KindModel:
    """A fitted regressor with the domain of its training rows and a 90 % interval."""
    interval = Interval.fit(validation.latency, regressor.predict(validation))
    return KindModel(regressor, interval, Domain.fit(train))
