"""Datasets of measurements, as tables by module kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latency_jax.collection.dataset_file import FILE, DatasetError, read_lines
from latency_jax.measuring.load import Load
from latency_jax.parameters import ModuleConfig
from latency_jax.table import Table, TableError, joined, make_table

AGREE = 0.1  # two measurements of a configuration repeat each other within this share
_NUMBERS = ("windows", "max_windows")
_LEVELS = 8  # of a load, at most, that are described one by one


class Dataset(NamedTuple):
    """A dataset that `read_dataset` has read.

    `tables` has a row per configuration, in the order of drawing: parameters and conditions as
    columns. The columns `cpu_utilization` and `memory_pressure` hold what was requested, which
    is known before a module runs; what the load achieved beside it is in `loads` alone, as are
    second measurements of configurations in `pairs_s`.
    """

    tables: dict[str, Table]  # by module kind
    environment: dict[str, Any]  # as latency_jax.environment gave it
    config: dict[str, Any]  # a CollectConfig as JSON, and `measuring`, how modules were timed
    repeatability: float | None  # share of pairs within ±10 %; None without pairs
    pairs_s: np.ndarray  # f64[P, 2], first and second latency of P configurations
    gaps_s: np.ndarray  # f64[P], between the two
    loads: np.ndarray  # f64[M, 2, 2] of measurements: CPU and memory, each requested and achieved
    sentinel: np.ndarray  # f64[S, 2], Unix time and seconds of the sentinel beside each window
    failures: tuple[str, ...]  # why a configuration could not be measured
    spent_s: float  # on collecting, compilation included

    @property
    def rate(self) -> float:
        """Measurements a minute, second ones included."""
        made = sum(table.rows for table in self.tables.values()) + len(self.pairs_s)
        return 60 * made / max(self.spent_s, 1e-9)

    @property
    def drift(self) -> float:
        """How far the slowest twentieth of the sentinel's times lie above its median, a share."""
        return float(np.quantile(self.sentinel[:, 1], 0.95) / np.median(self.sentinel[:, 1]) - 1)


def read_dataset(directory: str | os.PathLike, window_quantile: float | None = None) -> Dataset:
    """Reads what `experiments.collect_latency` has left in a directory, finished or not.

    A last line that a kill tore off is ignored. Repetitions are kept, so another quantile of the
    windows than the collection's can be taken for the latency. Raises DatasetError, naming file
    and line, for a missing, damaged or foreign file, and for one without any measurement.
    """
    path = Path(directory) / FILE
    header, rows, _, _ = read_lines(path)
    config = header["config"]
    if window_quantile is not None:
        config = {
            **config,
            "measuring": {**config["measuring"], "window_quantile": window_quantile},
        }
        rows = [r if "error" in r else {**r, "latency_s": _latency_s(r, config)} for r in rows]
    firsts: dict[tuple[str, int], dict[str, Any]] = {}
    seconds: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        if "error" not in row:
            (seconds if row["repeat"] else firsts)[row["config"]["kind"], row["number"]] = row
    if not firsts:
        raise DatasetError(f"{path}: holds no measurement yet; collect for longer")
    pairs = [(firsts[key], seconds[key]) for key in sorted(firsts.keys() & seconds.keys())]
    pairs_s = np.array([[r["latency_s"] for r in pair] for pair in pairs]).reshape(-1, 2)
    gaps = [second["start_s"][0] - first["start_s"][-1] for first, second in pairs]
    measured = [row for row in rows if "error" not in row]
    return Dataset(
        tables=_tables(path, firsts),
        environment=header["environment"],
        config=config,
        repeatability=repeatability(pairs_s),
        pairs_s=pairs_s,
        gaps_s=np.array(gaps),
        loads=np.array([_load(row) for row in measured]).reshape(-1, 2, 2),
        sentinel=np.array([w for r in measured for w in zip(r["start_s"], r["sentinel_s"])]),
        failures=tuple(f"{row['config']}: {row['error']}" for row in rows if "error" in row),
        spent_s=rows[-1]["spent_s"],
    )


def read_datasets(
    directories: Sequence[str | os.PathLike], window_quantile: float | None = None
) -> Dataset:
    """Collections of one machine, measured in one way, as one dataset.

    `window_quantile` as for `read_dataset`; collections may then have taken different numbers of
    windows, of which that is a quantile. Raises DatasetError as `read_dataset` does, and for
    datasets that do not go together.
    """
    datasets = [read_dataset(directory, window_quantile) for directory in directories]
    first, *others = datasets
    ignored = () if window_quantile is None else _NUMBERS
    for directory, other in zip(directories[1:], others):
        for what, wanted, found in (
            ("environment", first.environment["id"], other.environment["id"]),
            ("measuring", _measuring(first, ignored), _measuring(other, ignored)),
        ):
            if wanted != found:
                raise DatasetError(
                    f"{directory}: its {what} is {found}, that of {directories[0]} is {wanted}; "
                    "fit what was measured on one machine in one way together, other data apart"
                )
    tables: dict[str, list[Table]] = {}
    for dataset in datasets:
        for kind, table in dataset.tables.items():
            tables.setdefault(kind, []).append(table)
    pairs_s = np.concatenate([dataset.pairs_s for dataset in datasets])
    return first._replace(
        tables={kind: joined(parts) for kind, parts in tables.items()},
        config={**first.config, "kinds": list(tables)},
        repeatability=repeatability(pairs_s),
        pairs_s=pairs_s,
        gaps_s=np.concatenate([dataset.gaps_s for dataset in datasets]),
        loads=np.concatenate([dataset.loads for dataset in datasets]),
        sentinel=np.concatenate([dataset.sentinel for dataset in datasets]),
        failures=sum((dataset.failures for dataset in datasets), ()),
        spent_s=sum(dataset.spent_s for dataset in datasets),
    )


def _measuring(dataset: Dataset, ignored: Sequence[str]) -> dict[str, Any]:
    how = dataset.config.get("measuring", {})
    return {name: value for name, value in how.items() if name not in ignored}


def _latency_s(row: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """As latency_jax.measuring took it, of the repetitions that are kept."""
    how = config["measuring"]
    share = how["repetition_quantile"]
    windows = [np.array(window) for window in row["repetitions_s"]]
    centres = [w.mean() if share is None else np.quantile(w, share) for w in windows]
    return float(np.quantile(centres, how["window_quantile"]))


def _load(row: Mapping[str, Any]) -> list[tuple[float, float]]:
    conditions = row["config"]["conditions"]
    requested = [float(conditions[name]) for name in Load._fields]
    return list(zip(requested, map(float, row["load"])))


def repeatability(pairs_s: np.ndarray) -> float | None:
    """The share of pairs f64[P, 2] whose second lies within ±10 % of the first; None if P is 0.

    No prediction can be expected to come nearer to a measurement than another measurement.
    """
    if not len(pairs_s):
        return None
    first, second = pairs_s.T
    return float(np.mean(np.abs(second - first) <= AGREE * first))


def summary(dataset: Dataset) -> dict[str, Any]:
    """What a collection came to, for `json.dumps`."""
    return {
        "configurations": {kind: table.rows for kind, table in dataset.tables.items()},
        "per_minute": dataset.rate,
        "spent_s": dataset.spent_s,
        "repeatability": dataset.repeatability,
        "pairs": len(dataset.pairs_s),
        "shortest_gap_s": float(min(dataset.gaps_s)) if len(dataset.gaps_s) else None,
        "sentinel_drift": dataset.drift,
        "achieved": dict(_achieved(dataset.loads)),
        "failures": list(dataset.failures),
        "environment": dataset.environment,
    }


def _achieved(loads: np.ndarray) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """(requested, median achieved) by load, of those that vary over few levels."""
    for name, (requested, achieved) in zip(Load._fields, loads.transpose(1, 2, 0)):
        levels = np.unique(requested)
        if 1 < len(levels) <= _LEVELS:
            medians = [float(np.median(achieved[requested == level])) for level in levels]
            yield name, list(zip(levels.tolist(), medians))


def describe(dataset: Dataset) -> str:
    """The same in a few lines, for people."""
    found = summary(dataset)
    lines = [f"{rows:6,}  {kind}" for kind, rows in found["configurations"].items()]
    total = sum(found["configurations"].values())
    lines.append(f"{total:6,}  configurations, {found['per_minute']:.0f} measurements a minute")
    if found["pairs"]:
        lines.append(
            f"repeatability: {found['repeatability']:.0%} of {found['pairs']} pairs within ±10 %, "
            f"measured {found['shortest_gap_s'] / 60:.1f} minutes apart or more"
        )
    else:
        lines.append("repeatability: unknown, as nothing was measured twice; collect for longer")
    lines.append(
        f"sentinel: 95 % of its times at most {found['sentinel_drift']:.0%} over its median"
    )
    for name, shares in found["achieved"].items():
        levels = ", ".join(f"{achieved:.2f} of {asked:g}" for asked, achieved in shares)
        lines.append(f"{name} achieved beside the modules: {levels}")
    if dataset.failures:
        lines.append(f"{len(dataset.failures)} could not be measured: {dataset.failures[0]}")
    return "\n".join(lines)


def _tables(path: Path, firsts: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, Table]:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for kind, index in sorted(firsts):
        by_kind.setdefault(kind, []).append(firsts[kind, index])
    tables = {}
    for kind, rows in by_kind.items():
        values = [ModuleConfig.from_json(row["config"]).values for row in rows]
        try:
            columns = {name: np.array([v[name] for v in values]) for name in values[0]}
            tables[kind] = make_table(kind, columns, np.array([row["latency_s"] for row in rows]))
        except (TableError, KeyError, ValueError) as error:
            raise DatasetError(f"{path}: measurements of {kind}: {error}") from None
    return tables
