"""Leaving one device out: nothing of the test leaks, and each arm is what it says."""

import numpy as np
import pytest
from made_up_devices import DEVICES, measured

from latency_jax.fitting.device_report import CHOSEN, page
from latency_jax.fitting.device_study import DeviceStudyConfig, _draws, _lots, divide, study
from latency_jax.table import TableError

CONFIG = DeviceStudyConfig(
    regressor="residual_hist_gb",
    zero_shot=("roofline",),
    methods=("bias", "blend"),
    single_methods=("none", "blend"),
    scratch=("roofline", "linear"),
    counts=(10, 20),
    draws=2,
    rows=150,
    retrained="residual_hist_gb",
    retrained_rows=60,
)
TABLES = {name: measured(name, 300, 5) for name in DEVICES}  # the same layers on each


@pytest.fixture(scope="module")
def divided():
    return divide(TABLES, DEVICES, CONFIG)


@pytest.fixture(scope="module")
def rows(divided):
    seen = []
    found = study(divided, "new", CONFIG, seen.append)
    assert found == seen
    return found


def layers(table):
    return set(zip(*(column.tolist() for column in table.columns.values())))


def test_a_layer_plays_one_part_on_all_devices(divided):
    parts = [
        set.union(*(layers(getattr(each, part)) for each in divided.values()))
        for part in ("train", "measured", "test")
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(layers(TABLES["new"]))
    assert [len(part) / 300 for part in parts] == pytest.approx([0.55, 0.2, 0.25], abs=0.07)
    again = TABLES["fast"].take(slice(None, None, -1))
    np.testing.assert_array_equal(_lots(again)[::-1], _lots(TABLES["slow"]))
    assert divided["new"].known.rows == len(parts[0] | parts[1])


def test_draws_are_nested_and_of_the_rows_for_it(divided):
    drawn = {(count, draw): few for count, draw, few in _draws(divided["new"], CONFIG)}
    assert layers(drawn[10, 0]) <= layers(drawn[20, 0]) <= layers(divided["new"].measured)
    assert layers(drawn[10, 0]) != layers(drawn[10, 1])


def test_every_arm_is_there(rows):
    found = {(r["arm"], r["what"], r["measured"]) for r in rows}
    assert {r["device"] for r in rows} == {"new"}
    for arm, what in (("recalibrated", "blend"), ("single", "blend"), ("scratch", "chosen")):
        assert {(arm, what, 10), (arm, what, 20)} <= found
    assert {("zero_shot", w, 0) for w in ("data sheet", "roofline", "residual_hist_gb")} <= found
    assert ("single", "none", 0) in found and ("retrained", "residual_hist_gb", 20) in found
    assert {r["source"] for r in rows if r["arm"] == "single"} == {"slow", "middle", "fast"}
    assert sum(r["arm"] == "single" and r["what"] == "none" for r in rows) == 3
    covered = [r["coverage"] for r in rows if (r["arm"], r["what"]) == ("recalibrated", "blend")]
    assert len(covered) == 4 and all(0 <= share <= 1 for share in covered)


def test_what_was_measured_helps(rows):
    def error(arm, what, count):
        key = (arm, what, count)
        return np.mean([r["mape"] for r in rows if (r["arm"], r["what"], r["measured"]) == key])

    assert error("recalibrated", "blend", 20) < error("scratch", "chosen", 20)
    assert error("recalibrated", "blend", 20) < error("zero_shot", "roofline", 0)
    assert error("zero_shot", "roofline", 0) < error("zero_shot", "data sheet", 0)


def test_without_descriptors_there_are_no_zero_shots():
    two = {name: TABLES[name] for name in ("slow", "new")}
    found = study(divide(two, {}, CONFIG), "new", CONFIG)
    assert {r["arm"] for r in found} == {"single", "scratch", "all_rows"}


def test_too_few_rows_are_said():
    with pytest.raises(TableError, match=r"new: .* 20 or more"):
        divide({"new": measured("new", 20, 0)}, DEVICES, CONFIG)


def test_the_page_has_all_of_it(rows):
    both = [*rows, *({**r, "device": "slow", "mape": 2 * r["mape"]} for r in rows)]
    text = page({"layers": both})
    lines = text.splitlines()
    assert lines[0] == "# layers" and lines[2] == "| | | 0 | 10 | 20 |"
    assert f"| recalibrated | {CHOSEN} |" in text and "| new | one other device |" in text
    assert "Coverage" in text and "| layers | recalibrated | 20 |" in text
    blend = next(line for line in lines if line.startswith("| recalibrated | blend"))
    of_blend = [
        r for r in both if (r["arm"], r["what"], r["measured"]) == ("recalibrated", "blend", 20)
    ]
    assert f"{100 * np.mean([r['mape'] for r in of_blend]):.1f}" in blend
