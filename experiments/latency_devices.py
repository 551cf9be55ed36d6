"""Leave one device out, on latencies that others have measured on several GPUs.

python -m experiments.latency_devices --data=DIR --workdir=OUT
python -m experiments.latency_devices --data=DIR --workdir=OUT --tables=conv --held_out="Tesla T4"

--data holds the files that experiments.latency_thirdparty names; tables are conv and linear (of
NeuSight, several GPUs) and transformer (of HAT: whole models on devices that no descriptor tells).
Every device is held out in turn, and predicted from the others after 0, 10, 20 and 50 measurements,
against models from scratch; see latency_jax/fitting/device_study.py. About 8 minutes on a core.

Leaves OUT/TABLE/DEVICE.json of each, and OUT/latency_devices.md and .json of all. What is there,
of the same settings, is not done again, so an interrupted command goes on.
"""

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.command_line import run
from experiments.configs.latency_tables import DEVICE_SOURCES
from latency_jax.columns import GENERIC
from latency_jax.csv_table import CsvTableError
from latency_jax.devices import DeviceError, read_devices
from latency_jax.environment import environment
from latency_jax.fitting.device_report import page
from latency_jax.fitting.device_study import DeviceStudyConfig, Divided, divide, study
from latency_jax.known_devices import KNOWN
from latency_jax.regressors import regressor_names
from latency_jax.table import TableError
from packd_jax.config import ConfigError, to_json_dict
from packd_jax.json_files import write_json
from packd_jax.staged_file import write_text

DATA = flags.DEFINE_string("data", None, "the directory of the files", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/latency_devices", "where everything goes")
TABLES = flags.DEFINE_list("tables", [], "which; without any, all")
HELD_OUT = flags.DEFINE_list("held_out", [], "devices to hold out; without any, each")
DEVICES = flags.DEFINE_string("devices", None, "a JSON file of descriptors, beside the known ones")
REGRESSOR = flags.DEFINE_string("regressor", "mean_blend", "that is recalibrated")
DRAWS = flags.DEFINE_integer("draws", 5, "of the measurements, with a seed each", lower_bound=1)
ROWS = flags.DEFINE_integer("rows", 1200, "that a device gives to the others, at most", 10)
COUNTS = flags.DEFINE_list("counts", ["10", "20", "50"], "measurements on the held-out device")

_STORED = (
    *("device", "arm", "what", "source", "measured", "draw"),
    *("mape", "within_10", "r2", "r2_log", "coverage"),
)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --data={argv[1]}")
    names = TABLES.value or list(DEVICE_SOURCES)
    unknown = [name for name in names if name not in DEVICE_SOURCES]
    if unknown:
        raise ConfigError(f"--tables={unknown[0]}: expected some of {', '.join(DEVICE_SOURCES)}")
    if not all(count.isdecimal() and int(count) >= 5 for count in COUNTS.value):
        raise ConfigError(f"--counts={','.join(COUNTS.value)}: expected whole numbers from 5 on")
    counts = tuple(sorted(map(int, COUNTS.value)))
    config = DeviceStudyConfig(REGRESSOR.value, counts=counts, draws=DRAWS.value, rows=ROWS.value)
    workdir, found = Path(WORKDIR.value), {}
    for name in names:
        divided = _divided(name, config)
        chosen = HELD_OUT.value or list(divided)
        if missing := [device for device in chosen if device not in divided]:
            raise ConfigError(f"--held_out={missing[0]}: table {name} has {', '.join(divided)}")
        found[name] = [
            row for device in chosen for row in _rows(workdir / name, divided, device, config)
        ]
    text = page(found)
    write_text(workdir / "latency_devices.md", text)
    command = shlex.join(["python", "-m", "experiments.latency_devices", *sys.argv[1:]])
    head = {"command": command, "config": to_json_dict(config), "machine": environment()}
    rows = {n: [[_short(r.get(c)) for c in _STORED] for r in of] for n, of in found.items()}
    write_json(workdir / "latency_devices.json", {**head, "columns": _STORED, "rows": rows})
    print(text)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _divided(name: str, config: DeviceStudyConfig) -> dict[str, Divided]:
    own = read_devices(DEVICES.value) if DEVICES.value else ()
    devices = {device.name: device for device in (*KNOWN, *own)}
    tables = {d: source.read(Path(DATA.value)) for d, source in DEVICE_SOURCES[name].items()}
    kind = next(iter(tables.values())).kind
    if kind != GENERIC and config.regressor not in regressor_names(kind):
        known = ", ".join(regressor_names(kind))
        raise ConfigError(f"--regressor={config.regressor}: expected one of {known}")
    return divide(tables, devices, config)


def _rows(
    directory: Path, divided: Mapping[str, Divided], device: str, config: DeviceStudyConfig
) -> list[dict[str, Any]]:
    """Those of an earlier run of the same settings, or new ones."""
    path = directory / f"{re.sub('[^A-Za-z0-9]+', '_', device)}.json"
    settings = to_json_dict(config)
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("config") == settings:
            return stored["rows"]
    print(f"{directory.name}: {device} is held out", flush=True)
    rows = study(divided, device, config, _show)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(path, {"config": settings, "rows": rows})
    return rows


def _show(row: Mapping[str, Any]) -> None:
    if row["arm"] in ("zero_shot", "all_rows") or row["what"] in ("blend", "chosen"):
        source = f" of {row['source']}" if row.get("source") else ""
        print(
            f"  {row['arm']:12s} {row['what'] + source:40s} {row['measured']:5d} measured  "
            f"MAPE {row['mape']:6.1%}  ±10 % {row['within_10']:6.1%}",
            flush=True,
        )


if __name__ == "__main__":
    run(main, CsvTableError, DeviceError, TableError)
