"""The search: what it chooses, when it looks at test, and that it goes on where it stopped."""

import dataclasses
import json

import numpy as np
import pytest
import small_study

from packd_jax.config import ConfigError, TraceConfig
from packd_jax.prefetch.budget import Limits, search
from packd_jax.prefetch.budget_config import SMOKE
from packd_jax.quantize import load_integer_student, quantize_checkpoint
from packd_jax.quantize.cost import KernelMachine
from packd_jax.run_log import RunLog
from packd_jax.traces.mldpc import write_trace

LIMITS = Limits((400, 900))


def windows(path):
    return TraceConfig(
        paths=(str(path),), train=(0, 5_000), validation=(5_000, 7_000), test=(7_000, 9_000)
    )


def found_in(folder, name="search", limits=LIMITS, config=SMOKE, trace="trace.txt"):
    with RunLog(folder / name) as log:
        return search(config, windows(folder / trace), limits, folder / name, log)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    trace = small_study.trace(rows=900)
    write_trace(folder / "trace.txt", trace)
    address = trace.address.copy()
    address[700:] = np.random.default_rng(0).integers(1 << 20, 1 << 30, 200, np.uint64) << 6
    write_trace(folder / "other_test.txt", trace._replace(address=address))
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return found_in(folder)


def test_each_budget_has_the_quickest_that_fits_it(found):
    tried = found["candidates"]
    assert {row["design"]["arm"] for row in tried} == {"no_kd", "kd"}
    for row, budget in zip(found["chosen"], LIMITS.bytes):
        fitting = [r["validation"]["est_cycles"] for r in tried if r["bytes"] <= budget]
        assert row["budget_bytes"] == budget and row["bytes"] <= budget
        assert row["validation"]["est_cycles"] == min(fitting)
    none = found["none"]
    for row in tried:
        speedup = none["validation"]["est_cycles"] / row["validation"]["est_cycles"]
        assert row["speedup"] == speedup
        assert row["validation"]["bytes"] == row["bytes"]
        assert row["policy"]["filter_blocks"] == row["design"]["filter_blocks"]


def test_windows_are_judged_alone(found):
    for name in ("validation", "test"):
        assert found["none"][name]["loads"] == 200
    assert all(row["test"]["loads"] == 200 for row in found["chosen"])


def test_the_checkpoint_becomes_the_integers_that_were_judged(folder, found):
    for row in found["chosen"]:
        integers, _ = load_integer_student(folder / "search" / row["integers"])
        bits = row["design"]["weight_bits"]
        again = quantize_checkpoint(folder / "search" / row["checkpoint"], bits)
        assert again.integers.digest == integers.digest
        assert again.how.f1 == row["f1"]


def test_the_written_file_is_what_was_returned(folder, found):
    assert json.loads((folder / "search" / "budgets.json").read_text()) == found


def test_test_is_not_looked_at_before_all_is_chosen(folder, found):
    other = found_in(folder, "other", trace="other_test.txt")
    own = [(row["design"], row["validation"], row["f1"]) for row in found["candidates"]]
    assert [(r["design"], r["validation"], r["f1"]) for r in other["candidates"]] == own
    assert other["none"]["test"] != found["none"]["test"]


def test_an_interrupted_search_goes_on(folder, found):
    table = folder / "search" / "candidates.jsonl"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]) + lines[-1][:40])  # the last one is torn
    trained = folder / "search" / "trained"
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    again = found_in(folder)
    assert table.read_text() == "".join(lines)
    assert before == {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}
    untimed = [
        [{**row, "ns_per_access": 0} for row in result["chosen"]] for result in (found, again)
    ]
    assert untimed[0] == untimed[1] and again["candidates"] == found["candidates"]


def test_slow_designs_are_not_tried(folder, found):
    least = min(row["kernel_cycles"] for row in found["candidates"])
    quick = found_in(folder, limits=Limits((900,), least))
    assert {row["kernel_cycles"] for row in quick["candidates"]} == {least}
    assert quick["budget_cycles"] == least


def test_a_slow_kernel_is_late(folder, found):
    with RunLog(folder / "search") as log:
        slow = search(
            *(SMOKE, windows(folder / "trace.txt"), LIMITS, folder / "search", log),
            KernelMachine(layer_cycles=5_000),
        )
    speedups = {row["design"]["width"]: row["speedup"] for row in found["candidates"]}
    for row in slow["candidates"]:
        assert row["kernel_cycles"] > 10_000 and row["validation"]["useful"] == 0
        assert row["speedup"] < speedups[row["design"]["width"]]


@pytest.mark.parametrize(
    "change", [{"paths": ("a.txt", "b.txt")}, {"unit": "rows"}], ids=["two traces", "rows"]
)
def test_other_studies_are_refused(folder, change):
    with RunLog(folder / "refused") as log, pytest.raises(ConfigError, match="expected one trace"):
        asked = dataclasses.replace(windows(folder / "trace.txt"), **change)
        search(SMOKE, asked, LIMITS, folder / "refused", log)
