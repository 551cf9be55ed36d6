"""The plot of accuracy against cost: what is drawn where."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from latency_jax.fitting.front_plot import COSTS, draw_front, write_front_plot
from latency_jax.selection import MODES


def row(name, seed=42, us=1.0, size=1000, validation=0.9):
    return {
        "set": name,
        "split_seed": seed,
        "predict_us_per_row": us,
        "size_bytes": size,
        "validation": validation,
    }


FRONT = [
    row("", us=100.0, size=10, validation=0.9),
    row("", us=1.0, size=1000, validation=0.8),
    row("", us=10.0, size=100, validation=0.7),  # no better than what is faster
]
SELECTION = [
    *(row(mode, us=us) for mode, us in zip(MODES, (0.5, 4.0, 2.0))),
    *(row("best_single", us=7.0), row("linear", us=0.1, validation=0.6), row("hist_gb", us=9.0)),
    *(row("time", seed=43, us=30.0), row("svr", seed=43, us=30.0)),
]


def study(selection=SELECTION, metric="accuracy"):
    config = {"split_seed": 42, "goal": {"metric": metric}}
    return {"selection": selection, "front": FRONT, "config": config}


def drawn(found, cost):
    axes = Figure().subplots()
    draw_front(axes, found, cost)
    return axes


@pytest.mark.parametrize(
    ("cost", "spent", "reached"),
    [
        ("predict_us_per_row", [1, 10, 100], [0.8, 0.8, 0.9]),
        ("size_bytes", [10, 100, 1000], [0.9, 0.9, 0.9]),
    ],
)
def test_the_line_is_the_best_that_costs_no_more(cost, spent, reached):
    axes = drawn(study(metric="within_10"), cost)
    (line,) = (x for x in axes.lines if x.get_label() == "front of selection")
    np.testing.assert_array_equal(line.get_xydata(), np.transpose([spent, reached]))
    points = axes.lines[0].get_xydata().tolist()
    assert points == sorted([r[cost], r["validation"]] for r in FRONT)
    assert (axes.get_xlabel(), axes.get_xscale()) == (COSTS[cost], "log")
    assert axes.get_ylabel() == "within_10 on validation"


def test_choices_and_single_regressors_of_the_first_split_have_marks_and_names():
    axes = drawn(study(), "predict_us_per_row")
    named = {text.get_text(): text.xy for text in axes.texts}
    assert named == {
        **dict(zip(MODES, [(0.5, 0.9), (4.0, 0.9), (2.0, 0.9)])),
        "linear": (0.1, 0.6),
        "hist_gb": (9.0, 0.9),
    }
    marks = [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert sorted(marks) == sorted(named.values())
    low, high = axes.get_xlim()
    assert low < 0.1 and high > 100  # all of it is seen, the front too


def test_sets_at_one_place_share_a_mark():
    axes = drawn(study(), "size_bytes")  # 1,000 bytes, all of them
    assert [text.get_text() for text in axes.texts] == [", ".join(MODES), "linear", "hist_gb"]


def test_a_file_has_both_costs_and_takes_the_place_of_an_older_one(tmp_path):
    path = tmp_path / "front.svg"
    path.write_text("older")
    write_front_plot(study(), path)
    text = path.read_text()
    for label in (*COSTS.values(), "accuracy on validation", "front of selection"):
        assert text.count(f"<!-- {label} -->") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_is_named_and_leaves_no_file(tmp_path):
    selection = [{"set": "linear", "split_seed": 42, "predict_us_per_row": 1.0, "validation": 0.5}]
    with pytest.raises(KeyError, match="size_bytes"):
        write_front_plot(study(selection), tmp_path / "front.svg")
    assert list(tmp_path.iterdir()) == []
