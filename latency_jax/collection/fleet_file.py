"""The datasets of a fleet: `DIR/<environment id>/measurements.jsonl` each, and `DIR/fleet.json`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_jax.collection.dataset import Dataset, read_dataset, summary
from latency_jax.collection.dataset_file import FILE as MEASUREMENTS
from latency_jax.collection.dataset_file import DatasetError, read_lines
from latency_jax.collection.machine_lock import CPU
from packd_jax.json_files import write_json

FILE = "fleet.json"
FORMAT = {"format": "latency_jax fleet", "version": 1}
_NO_NAMES = ("cpu", "processor", "r", "tm", "core", "with", "ghz")


def fleet_id(facts: Mapping[str, Any]) -> str:
    """A readable, lasting name of a machine's device as `NodeCollector.facts` describes it.

    Like `amd-epyc-2c-3fa91c` or `nvidia-h200-gpu0-81c0de`: the model, the cores or the device,
    and a hash of these, of the machine's name and of all that `environment_id` knows.
    """
    environment, device = facts["environment"], facts["device"]
    is_cpu = device == CPU
    model = environment["cpu_model" if is_cpu else "device_kind"] or ""
    model = re.sub(r"\((r|tm)\)|@.*|\d+-core", " ", model.lower())
    words = [word for word in re.findall("[a-z0-9]+", model) if word not in _NO_NAMES]
    what = [environment["id"], facts["machine"], device]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:6]
    return "-".join(
        [*(words[:3] or ["unknown"]), f"{environment['threads']}c" if is_cpu else device, digest]
    )


class FleetFile:
    """What `fleet.json` says of each environment; `put` rewrites it.

    An environment whose directory was removed is left out. Raises DatasetError for a file that
    is none of ours.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.directory = Path(directory)
        self.environments = self._read()

    def put(self, name: str, facts: Mapping[str, Any], unfinished: str | None) -> None:
        """Says how far an environment has come; `unfinished` is why it must be gone on with."""
        about: dict[str, Any] = {
            "unfinished": unfinished,
            "machine": facts["machine"],
            "device": facts["device"],
            "niceness": facts["niceness"],
            **_measured(self.directory / name),
            "environment": facts["environment"],
        }
        self.environments = {**self._read(), name: about}
        ordered = dict(sorted(self.environments.items()))
        write_json(self.directory / FILE, {**FORMAT, "environments": ordered})

    def _read(self) -> dict[str, dict[str, Any]]:
        found = _read(self.directory) if (self.directory / FILE).exists() else {}
        return {n: about for n, about in found.items() if (self.directory / n).is_dir()}

    @property
    def unfinished(self) -> dict[str, str]:
        """Why, by environment id."""
        return {
            name: about["unfinished"]
            for name, about in self.environments.items()
            if about["unfinished"]
        }

    def describe(self) -> str:
        """A line for each environment, for people."""
        return "\n".join(
            f"{about['rows']:6,}  {name}: {about['per_minute']:.0f} measurements a minute, "
            f"{_repeat(about['repeatability'])}"
            for name, about in sorted(self.environments.items())
        )


def read_fleet(
    directory: str | os.PathLike, window_quantile: float | None = None
) -> dict[str, Dataset]:
    """The dataset of each environment of a fleet, by environment id, finished or not.

    Each dataset's `environment` has its id as `fleet_id`. Environments without a measurement are
    left out. `window_quantile` as for `read_dataset`, which also reads any one of the directories
    `directory/<environment id>`. Raises DatasetError for missing, damaged and foreign files.
    """
    fleet = {}
    for name, about in _read(Path(directory)).items():
        if about["rows"]:
            dataset = read_dataset(Path(directory) / name, window_quantile)
            environment = {**dataset.environment, "fleet_id": name}
            fleet[name] = dataset._replace(environment=environment)
    return fleet


def _read(directory: Path) -> dict[str, dict[str, Any]]:
    path = directory / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if {name: found[name] for name in FORMAT} != FORMAT:
            raise ValueError(f"expected {FORMAT}")
        for name, about in found["environments"].items():
            if not re.fullmatch("[a-z0-9-]+", name):
                raise ValueError(f"{name!r} is no environment id")
            about["unfinished"], int(about["rows"]), about["per_minute"], about["repeatability"]
        return found["environments"]
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file; expected a directory of "
            "experiments.collect_latency --engine=ray"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path}: is none of this program's: {error!r}; name a directory of "
            "experiments.collect_latency --engine=ray"
        ) from None


def _measured(directory: Path) -> dict[str, Any]:
    nothing = {"rows": 0, "repeatability": None, "per_minute": 0.0}
    path = directory / MEASUREMENTS
    if not path.exists() or b"\n" not in path.read_bytes():
        return nothing
    if all("error" in row for row in read_lines(path).rows):
        return nothing
    dataset = read_dataset(directory)
    write_json(directory / "collection.json", summary(dataset))
    rows = sum(table.rows for table in dataset.tables.values())
    return {
        "rows": rows,
        "repeatability": dataset.repeatability,
        "per_minute": dataset.rate,
    }


def _repeat(share: float | None) -> str:
    return "nothing measured twice" if share is None else f"repeatability {share:.0%}"
