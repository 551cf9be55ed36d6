"""Means, intervals and paired differences by hand and by scipy; tables hold the numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from packd_jax import summary
from packd_jax.config import ARMS


def row(entry, arm, seed, f1):
    return {
        "entry": entry,
        "arm": arm,
        "seed": seed,
        "f1": f1,
        "precision": f1 + 0.01,
        "recall": f1 + 0.02,
        "average_precision": f1 + 0.03,
        "f1_at_half": f1 - 0.04,
        "params": 12345,
        "bytes": 49380,
        "steps": 3500,
    }


ROWS = [
    row("tokens", "no_kd", 0, 0.50),
    row("tokens", "no_kd", 1, 0.54),
    row("tokens", "packd", 1, 0.56),  # not in the order of the seeds
    row("tokens", "packd", 0, 0.53),
    row("segments", "no_kd", 0, 0.2),
    row("segments", "packd", 0, 0.3),
]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_the_interval_is_that_of_students_t(values):
    mean, half = summary.interval(values)
    np.testing.assert_allclose(mean, np.mean(values), atol=1e-9)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-6, atol=1e-9)
    else:
        assert half < 1e-7


def test_an_interval_by_hand_and_one_value_without_one():
    mean, half = summary.interval(iter([1.0, 2.0, 3.0]))
    assert mean == 2.0
    np.testing.assert_allclose(half, 4.302653 / math.sqrt(3), rtol=1e-6)
    mean, half = summary.interval([0.7])
    assert mean == 0.7 and math.isnan(half)


def test_by_arm_groups_seeds_in_the_order_of_the_rows():
    groups = summary.by_arm(ROWS, "recall")
    assert list(groups) == [
        ("tokens", "no_kd"),
        ("tokens", "packd"),
        ("segments", "no_kd"),
        ("segments", "packd"),
    ]
    np.testing.assert_allclose(groups["tokens", "no_kd"].mean, 0.54)
    np.testing.assert_allclose(groups["tokens", "no_kd"].half_width, 12.7062047 * 0.02, rtol=1e-6)


def test_paired_differences_by_hand():
    tokens, segments = summary.paired_differences(ROWS, [("packd", "no_kd"), ("packd", "kd")])
    assert (tokens["entry"], tokens["first"], tokens["second"]) == ("tokens", "packd", "no_kd")
    assert tokens["seeds"] == 2  # 0.53 - 0.50 and 0.56 - 0.54
    np.testing.assert_allclose(tokens["difference"], 0.025)
    np.testing.assert_allclose(tokens["half_width"], 12.7062047 * 0.005, rtol=1e-6)
    np.testing.assert_allclose(tokens["relative"], 0.025 / 0.52)
    np.testing.assert_allclose(tokens["relative_half_width"], 12.7062047 * 0.005 / 0.52, rtol=1e-6)
    assert segments["seeds"] == 1 and math.isnan(segments["half_width"])
    np.testing.assert_allclose(segments["relative"], 0.5)


def test_only_seeds_that_both_arms_have_are_paired():
    rows = [row("e", "kd", s, 0.5 + s / 10) for s in (0, 1, 2)]
    rows += [row("e", "no_kd", s, 0.4) for s in (1, 3)]
    (found,) = summary.paired_differences(rows, [("kd", "no_kd")])
    assert found["seeds"] == 1
    np.testing.assert_allclose(found["difference"], 0.2)
    assert summary.paired_differences(rows[:3], [("kd", "no_kd")]) == []


def test_a_base_of_zero_has_no_relative_difference():
    rows = [row("e", "kd", 0, 0.5), row("e", "no_kd", 0, 0.0)]
    (found,) = summary.paired_differences(rows, [("kd", "no_kd")])
    assert found["difference"] == 0.5 and math.isnan(found["relative"])


def test_the_pairs_compare_arms_that_exist():
    assert {arm for pair in summary.PAIRS for arm in pair} <= set(ARMS)


def test_the_table_holds_the_numbers_in_columns():
    header, *lines = summary.table(ROWS).splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:5] == ["tokens", "no_kd", "12,345", "49,380", "0.5200"]
    assert "0.5200 ± 0.2541" in lines[0]
    assert lines[0].split()[7:] == ["0.5300", "0.5400", "0.5500", "0.4800", "3,500"]
    plain = "segments no_kd 12,345 49,380 0.2000 0.2100 0.2200 0.2300 0.1600 3,500"
    assert " ".join(lines[2].split()) == plain
    # With and without an interval every column ends where its heading does.
    assert {len(line) for line in (header, *lines)} == {len(header)}


@pytest.mark.parametrize(("spread", "sure"), [(0.001, True), (0.3, False)])
def test_the_differences_table_marks_what_is_sure(spread, sure):
    rows = [row("e", "no_kd", s, 0.4) for s in range(3)]
    rows += [row("e", "packd", s, 0.5 + spread * (s - 1)) for s in range(3)]
    header, line = summary.differences_table(summary.paired_differences(rows)).splitlines()
    assert "paired difference of F1" in header
    assert line.startswith("e  ") and "packd - no_kd" in line
    assert "+0.1000" in line and "+25.0%" in line
    assert f"±{4.302653 * spread / math.sqrt(3):>8.4f}" in line
    assert line.rstrip().endswith("*") == sure


def test_one_seed_alone_is_never_sure():
    text = summary.differences_table(summary.paired_differences(ROWS[4:]))
    assert "+50.0%" in text and "*" not in text
