"""The command, from measurements to a LatencyModel, and the study that it runs."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from experiment_command import command

from latency_jax.fitting.report import describe, results
from latency_jax.fitting.study import ABLATIONS, FitConfig, make_model, run_trials
from latency_jax.latency_model import LatencyModel
from latency_jax.medn import MednConfig
from latency_jax.regressors import Entry, MednRegressor, registry
from latency_jax.regressors.medn import MednRecipe
from latency_jax.scores import score
from latency_jax.selection import MODES, Goal
from latency_jax.table import TableError, make_table, split
from packd_jax.config import ConfigError

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "latency"
TINY = MednRecipe(MednConfig(width=16, frequencies=2, embedding=2, steps=60, batch_size=32))
NAMES = ("linear", "roofline", "knn", "medn_tiny")
COSTS = {"fit_seconds", "predict_us_per_row", "size_bytes"}


def columns(rows, seed):
    rng = np.random.default_rng(seed)
    return {
        "batch_size": 2 ** rng.integers(0, 6, rows),
        "in_features": rng.integers(8, 600, rows),
        "out_features": rng.integers(8, 600, rows),
    }


def seconds(values, seed):
    noise = 0.03 * np.random.default_rng(seed).standard_normal(len(values["batch_size"]))
    work = values["batch_size"] * values["in_features"] * values["out_features"]
    return (1e-5 + 1e-10 * work) * np.exp(noise)


TABLES = {
    kind: make_table(kind, columns(rows, seed), seconds(columns(rows, seed), seed))
    for seed, (kind, rows) in enumerate({"dense": 400, "generic": 300}.items())
}
CONFIG = FitConfig(NAMES, split_seed=5, seeds=2, goal=Goal("space", 0.02))


@pytest.fixture(scope="module")
def trials():
    with pytest.MonkeyPatch.context() as patch:
        entry = Entry(partial(MednRegressor, recipe=TINY))
        patch.setitem(registry._ENTRIES, "medn_tiny", entry)
        yield run_trials(TABLES, CONFIG)


@pytest.fixture(scope="module")
def found(trials):
    return json.loads(json.dumps(results(trials, CONFIG)))


def test_every_regressor_is_scored_on_the_test_rows_of_its_split(trials, found):
    rows = {(r["split_seed"], r["kind"], r["regressor"]): r for r in found["rows"]}
    expected = [("dense", name) for name in NAMES]
    expected += [("generic", name) for name in NAMES if name != "roofline"]  # needs FLOPs
    assert sorted(rows) == sorted((seed, *each) for seed in (5, 6) for each in expected)
    for trial in trials:
        for fit in trial.fits:
            row = rows[trial.seed, fit.candidate.kind, fit.candidate.name]
            assert row.keys() >= COSTS and min(row[name] for name in COSTS) > 0
            test = split(TABLES[fit.candidate.kind], trial.seed).test  # as scikit-learn draws it
            scores = score(test.latency, fit.regressor.predict(test))
            assert {name: row[name] for name in scores._fields} == pytest.approx(scores._asdict())
            assert row["size_bytes"] == fit.regressor.size_bytes


def test_validation_is_apart_and_larger_for_small_tables(trials):
    for kind, splits in trials[0].splits.items():
        parts = [
            set(zip(*(c.tolist() for c in part.columns.values()), part.latency.tolist()))
            for part in splits
        ]
        assert sum(map(len, parts)) == TABLES[kind].rows == len(set.union(*parts))
        assert len(parts[1]) == pytest.approx(0.25 * 0.8 * TABLES[kind].rows, abs=1)


def test_sets_are_those_of_every_mode_and_of_every_regressor_for_all_kinds(found):
    sets = {row["set"] for row in found["selection"]}
    assert sets == {*MODES, "best_single", "linear", "knn", "medn_tiny"}
    for row in found["selection"]:
        of_row = {
            (r["kind"], r["regressor"]): r
            for r in found["rows"]
            if r["split_seed"] == row["split_seed"]
        }
        accuracy = [of_row[k, v["regressor"]]["accuracy"] for k, v in row["kinds"].items()]
        assert row["macro"]["accuracy"] == pytest.approx(np.mean(accuracy))
        for kind in row["kinds"].values():
            assert 0.6 <= kind["coverage"] <= 1 and kind["in_domain"] > 0.9


def test_gains_are_differences_on_the_same_split(found):
    by_set = {(r["set"], r["split_seed"]): r["weighted"]["accuracy"] for r in found["selection"]}
    gain = next(
        g
        for g in found["gains"]
        if (g["mode"], g["over"], g["average"], g["score"])
        == ("space", "best_single", "weighted", "accuracy")
    )
    pairs = np.array([[by_set[s, seed] for s in ("space", "best_single")] for seed in (5, 6)])
    points = 100 * (pairs[:, 0] - pairs[:, 1])
    assert gain["points"] == pytest.approx(points.mean())
    assert gain["relative"] == pytest.approx(100 * points.mean() / (100 * pairs[:, 1].mean()))
    assert gain["half_width"] == pytest.approx(12.706 * points.std(ddof=1) / 2**0.5, rel=1e-3)


def test_description_names_every_set_and_the_choice(found):
    text = describe(found)
    for row in found["selection"]:
        assert f"\n{row['set']:18s}" in text
    assert text.splitlines()[-1].startswith("time mode chose dense: ")


def test_model_holds_what_was_selected(trials, tmp_path):
    model = make_model(trials[0], "space", {"id": "x"}, {"data": "d"})
    names = {kind: m.regressor.name for kind, m in model.models.items()}
    assert names == trials[0].sets["space"].names
    assert (model.environment, model.about) == ({"id": "x"}, {"data": "d"})
    model.save(tmp_path / "model.zip")
    test = trials[0].splits["dense"].test
    again = LatencyModel.load(tmp_path / "model.zip").predict("dense", test.columns)
    assert score(test.latency, again.latency).accuracy > 0.8


def test_shifted_splits_and_columns_that_no_regressor_is_told():
    tables = {"dense": TABLES["dense"]}
    largest = FitConfig(("linear",), held_out="largest", without=("out_features",))
    splits = run_trials(tables, largest)[0].splits["dense"]
    assert set(splits.train.columns) == {"batch_size", "in_features"}
    work = [np.prod(list(part.columns.values()), axis=0) for part in splits]
    assert work[2].min() > max(work[0].max(), work[1].max()) and splits.test.rows >= 80
    some = FitConfig(("linear",), held_out="batch_size=4:8")
    splits = run_trials(tables, some)[0].splits["dense"]
    assert set(splits.test.columns["batch_size"]) == {4, 8}
    assert not {4, 8} & {
        *splits.train.columns["batch_size"],
        *splits.validation.columns["batch_size"],
    }
    with pytest.raises(TableError, match="the kind 'generic' has no FLOPs"):
        run_trials({"generic": TABLES["generic"]}, largest)
    for wrong in ("smallest", "load=1", "load=2:1", "=1:2"):
        with pytest.raises(ConfigError, match=f"held_out = '{wrong}': expected \"random\""):
            FitConfig(held_out=wrong)


def test_which_regressors_are_fitted():
    assert FitConfig(("knn",)).names(["dense"]) == ("knn",)
    several = FitConfig().names(["dense", "generic"])
    assert {"roofline", "hist_gb", "mlp", "medn"} <= set(several)
    assert not set(several) & set(ABLATIONS)
    assert set(several) - set(FitConfig().names(["dense"])) == {"mlp"}  # where it is MEDN
    with pytest.raises(ConfigError, match="regressors = 'roofline': expected one of linear"):
        FitConfig(("roofline",)).names(["generic"])
    for wrong in ({"seeds": 0}, {"split_seed": -1}, {"test_share": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            FitConfig(**wrong)


def write_csv(path, rows=150):
    values = columns(rows, 0)
    table = {"b": values["batch_size"], "n": values["in_features"], "m": values["out_features"]}
    table |= {"gpu": ["a", "b"] * (rows // 2), "t1": 400 * seconds(values, 0)}
    table |= {"t2": 600 * seconds(values, 0)}  # ms, together
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values()))


def test_from_a_file_to_a_latency_model(tmp_path):
    write_csv(tmp_path / "some.csv")
    run = command(
        "fit_latency",
        f"--data={tmp_path / 'some.csv'}",
        f"--workdir={tmp_path / 'out'}",
        "--kind=dense",
        "--columns=batch_size=b,in_features=n,out_features=m",
        "--where=gpu=a",
        "--target=t1,t2",
        "--unit=ms",
        "--regressors=linear,roofline",
        "--seeds=2",
        "--mode=space",
    )
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {(r["split_seed"], r["regressor"]) for r in found["rows"]} == {
        (seed, name) for seed in (42, 43) for name in ("linear", "roofline")
    }
    assert all(row["test_rows"] == 15 for row in found["rows"])
    assert found["selection"] and found["front"] and found["config"]["goal"]["mode"] == "space"
    model = LatencyModel.load(tmp_path / "out" / "latency_model.zip")
    assert model.models["dense"].regressor.name == "roofline"  # the smaller and the better one
    asked = {"batch_size": 16, "in_features": 300, "out_features": 300}
    latency = model.predict("dense", {n: np.array([v]) for n, v in asked.items()}).latency
    assert latency == pytest.approx(1e-5 + 1e-10 * 16 * 300 * 300, rel=0.3)
    assert "<svg" in (tmp_path / "out" / "front.svg").read_text()
    assert "space mode chose" not in run.stdout and "roofline" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data=/no/where"], "--data=/no/where: no such file"),
        (["--data=CSV"], "expected --kind, --columns and --target"),
        (["--data=CSV", "--kind=dense", "--columns=b", "--target=t1"], "--columns: 'b'; expected"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, told):
    write_csv(tmp_path / "some.csv", rows=2)
    arguments = [a.replace("CSV", str(tmp_path / "some.csv")) for a in arguments]
    run = command("fit_latency", *arguments, f"--workdir={tmp_path}", expect=2)
    assert run.stderr.startswith("fit_latency: ") and run.stderr.count("\n") == 1
    assert told in run.stderr


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/latency")
def test_a_slice_of_the_third_party_data(tmp_path):
    lines = (DATA / "cdecatapult_convolution_V100_forward.csv").read_text().splitlines(True)
    (tmp_path / "slice.csv").write_text("".join([lines[0], *lines[1::20]]))
    command(
        "fit_latency",
        f"--data={tmp_path / 'slice.csv'}",
        f"--workdir={tmp_path}",
        "--kind=conv2d",
        "--columns=batch_size=batchsize,input_size=matsize,in_channels=channels_in,"
        "out_channels=channels_out,kernel_size=kernelsize,stride=strides,padding=padding,"
        "activation=activation_fct,use_bias=use_bias",
        "--values=padding.1=SAME,padding.0=VALID",
        "--target=timeUsed_median",
        "--unit=ms",
        "--regressors=linear,hist_gb",
    )
    found = json.loads((tmp_path / "results.json").read_text())
    mape = {row["regressor"]: row["mape"] for row in found["rows"]}
    assert mape["hist_gb"] < 0.25 and mape["linear"] < 0.4
    assert LatencyModel.load(tmp_path / "latency_model.zip").kinds == ("conv2d",)
