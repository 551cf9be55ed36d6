"""Fits what whole models take beside their modules, and shows how well whole models are predicted.

python -m experiments.fit_correction --latency_model=OUT/latency_model.zip --workdir=OUT2
python -m experiments.fit_correction --latency_model=... --workdir=OUT2 --batch_sizes=1,4,16

Measures the models of experiments/models/zoo.py on this machine, all of them twice (about five
minutes a batch size), once: OUT2/measured.json keeps what was measured. Leaves
OUT2/latency_model.zip, the latency model with its correction, and OUT2/whole_models.json and .md,
where every model is predicted with a correction that was fitted to the others; those of --unseen
are predicted alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from experiments.command_line import run
from experiments.models.zoo import STUDIED, UNSEEN, ZOO
from latency_jax.artifacts import ArtifactError
from latency_jax.environment import environment, run_inline
from latency_jax.latency_model import LatencyModel
from latency_jax.table import TableError
from latency_jax.whole_model.correction_study import (
    as_markdown,
    correction_study,
    errors,
    median_errors,
)
from latency_jax.whole_model.measured_model import WholeModel, measure_twice
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json
from packd_jax.staged_file import write_text

LATENCY_MODEL = flags.DEFINE_string("latency_model", None, "what fit_latency left", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/whole_models", "where everything goes")
MODELS = flags.DEFINE_list("models", list(STUDIED), "names of experiments/models/zoo.py")
CHECKS = flags.DEFINE_list("unseen", list(UNSEEN), "names there, to predict and not to fit to")
BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1"], "batch sizes")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --workdir={argv[1]}")
    names = [*MODELS.value, *CHECKS.value]
    if not set(names) <= set(ZOO) or len(set(MODELS.value)) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"--models={','.join(MODELS.value)} --unseen={','.join(CHECKS.value)}: expected two "
            f"or more and any other, each once, of {', '.join(ZOO)}"
        )
    if not all(size.isdecimal() and int(size) for size in BATCH_SIZES.value):
        raise ConfigError(f"--batch_sizes={','.join(BATCH_SIZES.value)}: expected whole numbers")
    run_inline()
    latency_model = LatencyModel.load(LATENCY_MODEL.value)
    workdir = Path(WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    models = [
        WholeModel(f"experiments.models.{name}", ZOO[name], int(size))
        for size in BATCH_SIZES.value
        for name in names
    ]
    here = environment()
    measured = measure_twice(models, workdir / "measured.json", here["id"])
    unseen = {f"experiments.models.{name}" for name in CHECKS.value}
    fit, rows = correction_study(latency_model, measured, unseen)
    correction = fit.correction.to_json()
    replace(latency_model, correction=correction).save(workdir / "latency_model.zip")
    table = as_markdown(rows)
    write_text(workdir / "whole_models.md", table + "\n")
    report = {
        "environment": here,
        "fitted_on": latency_model.environment.get("id"),
        "correction": correction,
        "median_errors": median_errors([row for row in rows if row.is_fitted]),
        "rows": [{**row._asdict(), "errors": errors(row)} for row in rows],
    }
    write_json(workdir / "whole_models.json", report)
    print(table)


if __name__ == "__main__":
    run(main, ArtifactError, TableError)
