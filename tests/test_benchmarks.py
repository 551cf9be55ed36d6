"""Measurements at smoke size: every line is there and is a number; the arithmetic by hand."""

import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from packd_jax.benchmarks.encode_memory import peak_bytes, synthetic_trace
from packd_jax.benchmarks.run import MEASUREMENTS, run_benchmarks
from packd_jax.benchmarks.scales import SMOKE, accesses, examples
from packd_jax.benchmarks.stacks import RATE, plain_runs
from packd_jax.benchmarks.timing import Line, compare, format_line, make_line, take_turns
from packd_jax.benchmarks.training import EXECUTIONS, our_steps, plain_steps
from packd_jax.config import ConfigError
from packd_jax.export import find_compiler
from packd_jax.models import InputSpec, build_model
from packd_jax.traces.mldpc import write_trace
from packd_jax.traces.read_trace import read_trace
from packd_jax.traces.workloads import record_workload

ROOT = Path(__file__).parent.parent


def test_a_line_is_median_and_quartiles():
    line = make_line("x", "rows/s", np.array([1.0, 5.0, 2.0, 4.0, 3.0]))
    assert (line.median, line.quartiles, line.repeats) == (3.0, (2.0, 4.0), 5)


def test_a_comparison_is_the_median_of_paired_ratios():
    ours, other = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    line = compare("x", "steps/s", 8, ours, "plain", other)
    assert line.median == 4.0 and line.ratio == 1.0 and line.ratio_quartiles == (0.75, 1.5)
    assert "1.000 (0.750 to 1.500) times as fast as plain" in format_line(line)


def test_every_round_begins_with_another_call():
    called = []
    seconds = take_turns({n: lambda n=n: called.append(n) for n in "abc"}, 3)
    assert called == [*"abc", *"abc", *"bca", *"cab"]
    assert all(len(values) == 3 and (values >= 0).all() for values in seconds.values())


def test_accesses_begin_again_where_the_workload_ends():
    rows = record_workload(SMOKE.workload).rows
    trace = accesses(SMOKE, rows + 10)
    for column in trace:
        assert len(column) == rows + 10
        np.testing.assert_array_equal(column[rows:], column[:10])


def test_the_synthetic_trace_is_one_that_can_be_written_and_read(tmp_path):
    trace = synthetic_trace(1_000)
    write_trace(tmp_path / "trace.txt", trace)
    for column, same in zip(trace, read_trace(tmp_path / "trace.txt")):
        np.testing.assert_array_equal(column, same)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_peak_memory_is_what_was_resident_once():
    held = np.ones(1 << 24)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert resident > held.nbytes
    del held
    # Linux counts pages in batches, by thread; its other peak may be that of a parent.
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 0.98 * resident < peak_bytes() < 1.02 * most


@pytest.mark.parametrize("name", ["tokens token_mlp", "segments resnet"])
def test_plain_steps_do_what_ours_do(name):
    """The comparison is between equal work: from equal parameters, equal parameters."""
    features, config = SMOKE.networks[name]
    model, data = build_model(config, InputSpec.of(features)), examples(SMOKE, features)
    batch = data.take(slice(0, SMOKE.batch_size))
    plain = plain_steps(model, batch, SMOKE)
    start = jax.tree.map(np.array, plain(0))  # a copy: steps donate what they are given
    end = jax.tree.map(np.array, plain(2))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start, end)
    assert max(jax.tree.leaves(moved)) > RATE
    for execution in EXECUTIONS:
        stacked = our_steps(model, batch, plain_runs(1), SMOKE, execution=execution)(2)
        ours = jax.tree.map(lambda x: np.array(x[0]), stacked)
        # Adam's steps are of size RATE; rounding alone moves what has next to no gradient.
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=0.1 * RATE), ours, end)


def test_an_unknown_measurement_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean features"):
        run_benchmarks(["feature"], SMOKE, 1)


def test_the_command_measures_everything(tmp_path):
    out = tmp_path / "lines.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.benchmark", "--scale=smoke"),
            *("--repeats=2", f"--out={out}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert {line["name"].split()[0] for line in found["lines"]} == set(MEASUREMENTS)
    assert found["scale"] == "smoke" and found["environment"]["versions"]["jax"]
    for line in found["lines"]:
        assert list(line) == list(Line._fields)
        low, high = line["quartiles"]
        assert 0 < low <= line["median"] <= high and line["repeats"] == found["repeats"] == 2
        if line["against"]:
            low, high = line["ratio_quartiles"]
            assert 0 < low <= line["ratio"] <= high
        assert f"{line['name']:44}" in run.stdout
    compared = {
        None,
        "no_kd",
        "plain jit",
        "one by one",
        "loop",
        "float32",
        "the student's training",
    }
    compared |= {"fp32 JAX, batch 1"} if find_compiler() else set()
    assert {line["against"] for line in found["lines"]} == compared


def test_a_folder_that_is_not_there_costs_no_time(tmp_path):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.benchmark", "--scale=smoke"),
            f"--out={tmp_path}/none/lines.json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2 and "expected a file in a folder" in run.stderr and not run.stdout
