"""What the page of a study draws."""

from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure

from latency_jax.fitting import page_plots as plots
from packd_jax.report_plots import svg

PAIRS_S = np.array([[1.2e-5, 1.25e-5], [2e-5, 1.5e-5], [1.2e-3, 1.3e-3], [4e-3, 9e-3]])


def axes_with(draw, *data, **how):
    axes = Figure().add_subplot()
    draw(axes, *data, **how)
    return axes


def line(axes, label):
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return found


def test_agreement_draws_every_pair_the_diagonal_and_the_band():
    axes = axes_with(plots.agreement, PAIRS_S)
    diagonal, points = axes.lines
    np.testing.assert_array_equal(points.get_xydata(), PAIRS_S)
    np.testing.assert_array_equal(*diagonal.get_data())
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    slopes = np.unique(np.round(corners[:, 1] / corners[:, 0], 6))
    np.testing.assert_allclose(slopes, [0.9, 1.1])
    assert axes.get_xlim() == axes.get_ylim() == (6e-6, 18e-3)


def test_of_many_rows_some_are_drawn_and_the_worst_is():
    rng = np.random.default_rng(0)
    first = rng.uniform(1e-4, 1e-2, 5000)
    pairs_s = np.stack([first, first * np.exp(0.1 * rng.standard_normal(5000))], axis=1)
    drawn = axes_with(plots.agreement, pairs_s).lines[1].get_xydata()
    errors, all_errors = (np.abs(np.log(p[:, 1] / p[:, 0])) for p in (drawn, pairs_s))
    assert len(drawn) == plots.MARKS and errors.max() == all_errors.max()
    assert np.median(errors) == pytest.approx(np.median(all_errors), rel=0.02)


@pytest.mark.parametrize("decades", [0, 0.3, 1, 2, 6])
@pytest.mark.parametrize("start", [1e-6, 2.9e-5])
def test_one_to_three_ticks_lie_within_the_panel(start, decades):
    axes = axes_with(plots.agreement, np.array([[start, start], [start * 10**decades] * 2]))
    low, high = axes.get_xlim()
    ticks = axes.get_xticks()
    assert 1 <= len(ticks) <= 3 and low <= ticks.min() and ticks.max() <= high


def test_error_distribution_is_a_share_of_rows():
    again = np.array([[1e-3, 1.05e-3], [1e-3, 2e-3]])
    axes = axes_with(plots.error_distribution, PAIRS_S, again_s=again)
    errors = np.abs(PAIRS_S[:, 1] / PAIRS_S[:, 0] - 1)
    levels, shares = line(axes, "predicted").get_data()
    assert levels[[0, 60, 120]] == pytest.approx([0.01, 0.1, 1])
    for level in (0, 30, 100, 120):
        assert shares[level] == np.mean(errors <= levels[level])
    assert line(axes, "measured again").get_ydata()[[0, 60, 120]].tolist() == [0, 0.5, 1]
    alone = axes_with(plots.error_distribution, PAIRS_S)
    assert [x.get_label() for x in alone.lines if x.get_label()[0] != "_"] == ["predicted"]


def test_coverage_outside_of_the_band_is_hollow():
    axes = axes_with(plots.coverage, {"dense": [0.88, 0.94], "conv2d": [0.6], "softmax": [0.96]})
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    means = [line for line in marks if line.get_markersize() == 6]
    assert [float(mean.get_xdata()[0]) for mean in means] == pytest.approx([0.91, 0.6, 0.96])
    assert [mean.get_markerfacecolor() == "white" for mean in means] == [False, True, True]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dense", "conv2d", "softmax"]
    assert axes.get_xlim()[0] == pytest.approx(0.58)  # nothing is cut off


def test_sentinel_is_drawn_over_its_median_in_order_of_time():
    minutes = np.arange(1000) / 10
    seconds = np.where(minutes < 50, 1e-3, 1.5e-3)
    sentinel = np.stack([1e9 + 60 * minutes, seconds], axis=1)
    shuffled = np.random.default_rng(0).permutation(sentinel)
    axes = axes_with(plots.sentinel_drift, shuffled)
    x, above = line(axes, "median").get_data()
    assert len(x) == 100 and x[0] == pytest.approx(0.45) and x[-1] == pytest.approx(99.45)
    middle = np.median(seconds)
    assert above[:50] == pytest.approx(1e-3 / middle - 1)
    assert above[50:] == pytest.approx(1.5e-3 / middle - 1)


def test_repeatability_by_range_of_latency():
    ranges = plots.by_latency(PAIRS_S)
    assert ranges == {
        "10 µs to 100 µs": (0.5, 2),
        "100 µs to 1 ms": (None, 0),
        "1 ms to 10 ms": (0.5, 2),
    }
    axes = axes_with(plots.shares, ranges)
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0, 0.5]
    assert axes.get_yticklabels()[2].get_text() == "1 ms to 10 ms\n2 pairs"


@pytest.mark.parametrize("kinds", [1, 20])
def test_every_kind_has_a_panel(kinds):
    data = {f"kind_{k}": PAIRS_S for k in range(kinds)}
    draw = partial(plots.error_distribution, again_s=PAIRS_S)
    height_in = plots.panels_height_in(kinds)
    drawn = svg("alt", plots.panels, data, draw, "error", "share", height_in=height_in)
    assert [drawn.count(f">{name}</text>") for name in data] == [1] * kinds
    for once in ("error", "share", "predicted", "measured again"):
        assert drawn.count(f">{once}</text>") == 1
    assert drawn.count(">50%</text>") == kinds  # no empty panel is left


def test_more_kinds_want_more_height():
    heights = [plots.panels_height_in(count) for count in (3, 4, 6, 7, 21)]
    assert heights[1] == heights[2] and sorted(set(heights)) == [heights[k] for k in (0, 1, 3, 4)]
