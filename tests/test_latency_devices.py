"""The study of held-out devices as people call it: at smoke size, going on, and mistakes."""

import json
from pathlib import Path

import pytest
from experiment_command import command
from test_latency_thirdparty import write_linear

from experiments.configs.latency_tables import DEVICE_SOURCES
from latency_jax.known_devices import KNOWN

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "latency"


def write_devices(directory):
    """The same layers on every device, each with a speed of its own."""
    write_linear(directory, rows=120)
    path = directory / "neusight_linear_train.csv"
    head, *lines = [line for line in path.read_text().splitlines() if "P4" not in line]
    for number, name in enumerate(DEVICE_SOURCES["linear"]):
        for line in lines[: 120 - number]:
            op, latency, _, *rest = line.split(",")
            head += "\n" + ",".join([op, str(float(latency) * (number + 1)), name, *rest])
    path.write_text(head + "\n")


def test_it_leaves_a_page_and_goes_on(tmp_path):
    write_devices(tmp_path)
    out = tmp_path / "out"
    asked = (f"--data={tmp_path}", f"--workdir={out}", "--tables=linear", "--regressor=additive")
    asked = (*asked, "--counts=5,10", "--draws=1", "--rows=40", "--held_out=Tesla T4")
    told = command("latency_devices", *asked).stdout
    page = (out / "latency_devices.md").read_text()
    assert page.strip() in told and "linear: Tesla T4 is held out" in told
    assert "| recalibrated | blend |  | " in page and "| from scratch | chosen |" in page
    stored = json.loads((out / "latency_devices.json").read_text())
    rows = [dict(zip(stored["columns"], row)) for row in stored["rows"]["linear"]]
    assert {row["device"] for row in rows} == {"Tesla T4"}
    assert all(0 <= row["within_10"] <= 1 for row in rows)
    assert stored["config"]["counts"] == [5, 10] and stored["machine"]["cpu_cores"]
    assert "is held out" not in command("latency_devices", *asked).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tables=x",), "expected some of conv, linear, transformer"),
        (("--tables=linear",), "holds no neusight_linear"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, told):
    run = command(
        "latency_devices",
        f"--data={tmp_path}",
        f"--workdir={tmp_path / 'out'}",
        *arguments,
        expect=2,
    )
    assert told in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published tables are not here")
def test_the_published_devices_are_described_and_share_their_modules():
    known = {device.name for device in KNOWN}
    for table in ("conv", "linear"):
        assert set(DEVICE_SOURCES[table]) <= known
    rows = {name: source.read(SHARED) for name, source in DEVICE_SOURCES["linear"].items()}
    modules = [set(zip(*(c.tolist() for c in t.columns.values()))) for t in rows.values()]
    assert len(set.intersection(*modules)) > 6000
