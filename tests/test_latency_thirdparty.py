"""The study of other people's tables: at smoke size, going on, and the files as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from experiment_command import command

from experiments.configs.latency_tables import SOURCES

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "latency"
ROWS = {  # of the published files
    "conv_v100_tf1": 25_017,
    "dense_v100_tf1": 12_440,
    "conv_a100": 4_790,
    "conv_v100": 4_960,
    "conv_t4": 4_970,
    "linear_a100": 6_460,
    "transformer_xeon": 2_000,
}


def write_linear(directory, rows=80):
    rng = np.random.default_rng(0)
    lines = ["op,latency_ms,device,B,M,N,K,n_kernels,main_kernel"]
    for m, n, k in rng.integers(8, 900, (rows, 3)).tolist():
        latency = 0.01 + 1e-8 * m * n * k * rng.uniform(0.95, 1.05)
        lines.append(f"linear,{latency},NVIDIA A100-PCIE-40GB,1,{m},{n},{k},1,sgemm")
        lines.append(f"linear,9.0,Tesla P4,1,{m},{n},{k},1,sgemm")
    (directory / "neusight_linear_train.csv").write_text("\n".join(lines) + "\n")


def test_it_leaves_every_fit_and_one_page_and_goes_on(tmp_path):
    write_linear(tmp_path)
    out = tmp_path / "out"
    arguments = (f"--data={tmp_path}", f"--workdir={out}", "--tables=linear_a100", "--seeds=2")
    told = command("latency_thirdparty", *arguments, "--regressors=linear,hist_gb,blend").stdout
    page = (out / "latency_thirdparty.md").read_text()
    lines = page.splitlines()
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| linear", "| hist_gb", "| blend"]
    assert "| selection, time |" in page and "| linear_a100 | time | best_single |" in page
    assert lines[2] == "| | linear_a100 |" and lines[2] in told
    stored = json.loads((out / "latency_thirdparty.json").read_text())
    assert len(stored["rows"]["linear_a100"]) == 6
    assert (out / "linear_a100" / "latency_model.zip").exists()
    results = out / "linear_a100" / "results.json"
    written = results.stat().st_mtime_ns
    assert (
        "split 42"
        not in command("latency_thirdparty", *arguments, "--regressors=linear,hist_gb,blend").stdout
    )
    assert results.stat().st_mtime_ns == written
    command("latency_thirdparty", *arguments, "--regressors=linear")  # other settings
    assert results.stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--tables=conv_v10", "expected some of conv_v100_tf1"),
        ("--tables=conv_t4", "holds no neusight_conv"),
    ],
)
def test_mistakes_are_one_line(tmp_path, argument, told):
    run = command(
        "latency_thirdparty",
        f"--data={tmp_path}",
        f"--workdir={tmp_path / 'out'}",
        argument,
        expect=2,
    )
    assert told in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published tables are not here")
@pytest.mark.parametrize("name", SOURCES)
def test_the_published_files_are_read(name):
    assert SOURCES[name].read(SHARED).rows == pytest.approx(ROWS[name], rel=0.01)
