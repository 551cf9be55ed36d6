"""A whole fit: the study, and the files that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_jax.collection.dataset import Dataset
from latency_jax.devices import Device
from latency_jax.fitting.candidates import Fit
from latency_jax.fitting.front_plot import write_front_plot
from latency_jax.fitting.page import write_page
from latency_jax.fitting.report import results
from latency_jax.fitting.study import FitConfig, make_model, run_trials
from latency_jax.table import Table
from packd_jax.json_files import write_json
from packd_jax.provenance import provenance


def fit(
    tables: Mapping[str, Table],
    config: FitConfig,
    workdir: Path,
    about: Mapping[str, Any],
    command: str,
    dataset: Dataset | None = None,
    on_fit: Callable[[int, list[Fit]], None] = lambda seed, fits: None,
    devices: Sequence[Device] = (),
    device: Device | None = None,
) -> dict[str, Any]:
    """Fits, selects, and leaves results.json, latency_model.zip, front.svg and report.html.

    `about` says what the tables are, `command` how to do this again; `dataset` is that of the
    tables if they are of one; `devices` are those that columns tell, and `device` is the one of
    all rows where they tell none. The LatencyModel is that of the goal's mode and the first split
    seed. Gives what results.json holds. Raises as `run_trials` does.
    """
    trials = run_trials(tables, config, on_fit)
    origin = {**about, "command": command, "fitted_on": provenance()}
    found = {**origin, **results(trials, config)}
    workdir.mkdir(parents=True, exist_ok=True)
    environment = {} if dataset is None else dataset.environment
    model = make_model(trials[0], config.goal.mode, environment, about, devices, device)
    model.save(workdir / "latency_model.zip")
    write_front_plot(found, workdir / "front.svg")
    write_page(workdir / "report.html", found, trials[0], dataset)
    write_json(workdir / "results.json", found)  # last: with it a fit is complete
    return found
