"""From nothing to a first prediction: measures, fits, selects, and predicts a model.

python -m experiments.latency
python -m experiments.latency --model=my_package.models:factory --input=8,64,64,3:float32

Spends --minutes on measuring the kinds of modules that the model consists of, of about the sizes
that it has, and less than that on fitting a few regressors to each, on predicting the model, and on
measuring it. Leaves measurements.jsonl, results.json and latency_model.zip in --workdir. For other
models, more accuracy and conditions use collect_latency, fit_latency, fit_correction and
predict_latency.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
from absl import flags

from experiments.command_line import run
from experiments.configs.latency import CONFIGS
from latency_jax.collection.collect import collect
from latency_jax.collection.dataset import describe, read_dataset
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.machine_lock import MachineBusyError, exclusive, measured_device
from latency_jax.environment import run_inline
from latency_jax.fitting import report
from latency_jax.fitting.study import FitConfig, make_model, run_trials
from latency_jax.parameters import ParameterError
from latency_jax.table import TableError
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.measured_model import measure_model
from latency_jax.whole_model.named_model import make_model as make_module
from latency_jax.whole_model.named_model import parse_inputs
from latency_jax.whole_model.neighbourhood import neighbourhood
from latency_jax.whole_model.predict import predict_model
from latency_jax.whole_model.report import as_json, as_text
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json

MODEL = flags.DEFINE_string("model", "experiments.models.resnet:resnet18", "package.module:factory")
INPUT = flags.DEFINE_multi_string("input", ["1,224,224,3:float32"], "shape and dtype, batch first")
WORKDIR = flags.DEFINE_string("workdir", "runs/latency_quick", "where everything goes")
MINUTES = flags.DEFINE_float("minutes", CONFIGS["quick"].minutes, "time for measuring modules")
REGRESSORS = ("linear", "roofline", "residual_ridge", "residual_hist_gb", "lookup")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --model={argv[1]}")
    run_inline()
    inputs, module, workdir = (
        parse_inputs(INPUT.value),
        make_module(MODEL.value),
        Path(WORKDIR.value),
    )
    near = neighbourhood(capture(module, inputs))
    config = replace(
        CONFIGS["quick"], kinds=tuple(near), customizations=near, minutes=MINUTES.value
    )
    with exclusive(measured_device(jax.default_backend()), f"collects into {workdir}"):
        collect(config, workdir)
    dataset = read_dataset(workdir)
    print(describe(dataset), file=sys.stderr)
    fit = FitConfig(REGRESSORS)
    trials = run_trials(dataset.tables, fit)
    about = {"data": str(workdir), "repeatability": dataset.repeatability}
    found = {**about, **report.results(trials, fit)}
    write_json(workdir / "results.json", found)
    latency_model = make_model(trials[0], "time", dataset.environment, about)
    latency_model.save(workdir / "latency_model.zip")
    print(report.describe(found), file=sys.stderr)
    graph = capture(module, inputs, latency_model.kinds)
    predicted = predict_model(latency_model, graph)
    told = {"model": MODEL.value, "measured_s": measure_model(module, inputs)}
    print(as_text(as_json(predicted, graph, told)))


if __name__ == "__main__":
    run(main, DatasetError, MachineBusyError, ParameterError, TableError)
