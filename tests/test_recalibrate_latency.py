"""The commands, from a file of several devices to predictions for one that it did not hold."""

import json
from pathlib import Path

import pytest
from experiment_command import command
from made_up_devices import DEVICES, measured

from latency_jax.latency_model import LatencyModel
from latency_jax.scores import score

ROOT = Path(__file__).parents[1]
TABLE = ("--kind=dense", "--columns=batch_size=b,in_features=i,out_features=o", "--target=us")
TEST = measured("new", 200, 7)


def write(path, rows, seed, names):
    lines = ["b,i,o,us,gpu"]
    for name in names:
        table = measured(name, rows, seed)
        for values in zip(*(c.tolist() for c in table.columns.values()), table.latency.tolist()):
            lines.append(",".join(map(str, [*values[:3], 1e6 * values[3], name])))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("devices")
    write(where / "all.csv", 300, 1, DEVICES)
    write(where / "few.csv", 20, 8, ["new"])
    described = [device.to_json() for device in DEVICES.values()]
    (where / "devices.json").write_text(json.dumps(described))
    command(
        "fit_latency",
        f"--data={where / 'all.csv'}",
        f"--workdir={where}",
        *TABLE,
        "--unit=us",
        "--device_column=gpu",
        f"--devices={where / 'devices.json'}",
        "--regressors=roofline,residual_hist_gb",
        "--held_out=device=new",
    )
    return where


def test_a_fit_of_several_devices_tests_on_the_one_that_is_held_out(files):
    found = json.loads((files / "results.json").read_text())
    assert {row["test_rows"] for row in found["rows"]} == {300}
    assert {row["regressor"] for row in found["rows"]} == {"roofline", "residual_hist_gb"}
    assert all(row["mape"] < 0.5 for row in found["rows"])
    model = LatencyModel.load(files / "latency_model.zip")
    assert list(model.devices) == ["slow", "middle", "fast"] and model.device is None
    says = model.for_device("middle").predict("dense", TEST.columns)
    exact = measured("middle", 200, 7)
    assert score(exact.latency, says.latency).mape < 0.15 and says.in_domain.mean() > 0.9


def test_recalibration_from_a_file(files):
    out = files / "new.zip"
    run = command(
        "recalibrate_latency",
        f"--latency_model={files / 'latency_model.zip'}",
        f"--data={files / 'few.csv'}",
        f"--out={out}",
        *TABLE,
        "--unit=us",
        f"--devices={files / 'devices.json'}",
        "--device=new",
    )
    assert run.stdout.startswith("dense: 20 measurements; MAPE ")
    model = LatencyModel.load(out)
    says = model.predict("dense", TEST.columns)
    assert score(TEST.latency, says.latency).mape < 0.12
    assert model.device == DEVICES["new"]
    assert "--out=" in model.about["recalibrated"]["command"]


def test_predictions_for_a_device(files):
    asked = ("--model=experiments.models.packd:lstm_student", "--input=1,10:uint8")
    asked = (*asked, "--input=1,10:uint8", "--input=1:uint8", f"--out={files / 'p.json'}")
    model = f"--latency_model={files / 'latency_model.zip'}"
    run = command("predict_latency", model, *asked, expect=2)
    assert "of several devices: choose one with" in run.stderr and run.stderr.count("\n") == 1
    command("predict_latency", model, *asked, "--device=slow")
    assert json.loads((files / "p.json").read_text())["latency_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data=FEW", *TABLE, "--device_column=gpu"), "device = 'new': expected one of"),
        (("--data=FEW", *TABLE[1:], "--kind=conv2d"), "unknown name 'in_features'"),
    ],
)
def test_mistakes_are_one_line(files, arguments, told):
    asked = [a.replace("FEW", str(files / "few.csv")) for a in arguments]
    model = f"--latency_model={files / 'latency_model.zip'}"
    run = command("recalibrate_latency", model, f"--out={files / 'x.zip'}", *asked, expect=2)
    assert told in run.stderr and run.stderr.count("\n") == 1
    assert not (files / "x.zip").exists()


def test_columns_of_devices_are_numbers_that_travel(files):
    columns = LatencyModel.load(files / "latency_model.zip").columns("dense")
    assert "device" in columns and "device_flops_per_s" in columns
