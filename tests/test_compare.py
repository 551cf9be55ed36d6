"""Markdown of several fits: their scores, gains and costs."""

import pytest

from latency_jax.fitting.compare import comparison, costs, gains

KINDS = ("dense", "conv2d")


def found(kinds, seeds=2):
    """Results of one regressor and one mode, whose share within 10 % rises with the seed."""
    rows, sets = [], []
    for seed in range(seeds):
        scores = {"mape": 0.05, "within_10": 0.7 + 0.1 * seed, "r2": 0.9}
        rows += [{"kind": kind, "regressor": "knn", **scores} for kind in kinds]
        for name in ("time", "knn"):
            of_kinds = {kind: {**scores, "mape": 0.03, "coverage": 0.9} for kind in kinds}
            cost = {"predict_us_per_row": 2.0 + seed, "predict_us_single": 90, "size_bytes": 1500}
            sets.append({"set": name, "macro": {**scores, "mape": 0.04}, "kinds": of_kinds} | cost)
    rises = [
        {"mode": "time", "over": "medn", "average": "macro", "score": score, **gain}
        for score, gain in {
            "accuracy": {"points": 2.5, "half_width": 0.25, "relative": 3.125},
            "r2": {"points": -0.5, "half_width": None, "relative": -0.625},
        }.items()
    ]
    ignored = {**rises[0], "average": "weighted", "points": 77.0}
    return {"rows": rows, "selection": sets, "gains": [*rises, ignored]}


def test_scores_are_of_the_kind_or_the_mean_over_kinds():
    fits = {"one": found(("dense",)), "several": found(KINDS, 1)}
    head, _, knn, mode = comparison(fits).splitlines()
    assert head == "| | one | several |"
    half_width = 12.706 * 5  # of two seeds: t of 1 degree of freedom times the standard error
    assert knn == f"| knn | 5.00 / 75.0 ± {half_width:.1f} / 0.900 | 4.00 / 70.0 / 0.900 |"
    assert mode.startswith("| selection, time | 3.00 / 75.0")
    of_kind = comparison(fits, "conv2d").splitlines()
    assert of_kind[2] == "| knn |  | 5.00 / 70.0 / 0.900 |"
    assert of_kind[3] == "| selection, time |  | 3.00 / 70.0 / 0.900 |"


def test_gains_are_of_the_mean_over_kinds():
    lines = gains({"one": found(("dense",))}).splitlines()
    assert lines[2:] == [
        "| one | time | medn | +2.50 ± 0.25 points, +3.12 % | -0.50 points, -0.62 % |"
    ]


def test_costs_are_means_over_seeds():
    lines = costs({"one": found(KINDS)}).splitlines()
    assert lines[2] == "| one | time | 2.50 | 90 | 1.5 | 90.0 % |"
    assert len(lines) == 4


@pytest.mark.parametrize("table", [comparison, gains, costs])
def test_every_line_has_as_many_cells(table):
    lines = table({"one": found(("dense",)), "two": found(KINDS, 1)}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
