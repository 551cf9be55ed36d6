"""The plot of a sweep, read back from its SVG."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from packd_jax.sweep_plot import write_front_plot

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
SIZES = [0, 100, 100, 1_000, 100_000, 10_000_000]
SCORES = [0.10, 0.40, 0.20, 0.30, 0.60, 0.50]


def rows_of(cost):
    # The other cost is one and the same for all: drawn against it, all would lie on a line.
    other = {"bytes": "params", "params": "bytes"}[cost]
    return [{cost: size, other: 7, "f1": f1} for size, f1 in zip(SIZES, SCORES)]


def marks(group):
    return np.array(
        [[float(mark.get("x")), float(mark.get("y"))] for mark in group.iter(f"{SVG}use")]
    )


def drawn(path):
    """Places of the runs' marks and of the front's, in pixels; y grows downwards."""
    axes = next(g for g in ElementTree.parse(path).iter(f"{SVG}g") if g.get("id") == "axes_1")
    (runs,) = (g for g in axes if g.get("id") == "PathCollection_1")
    lines = [g for g in axes if (g.get("id") or "").startswith("line2d") and len(marks(g)) > 1]
    return marks(runs), marks(lines[0])


@pytest.mark.parametrize("cost", ["bytes", "params"])
def test_every_run_and_the_front_have_their_places(tmp_path, cost):
    rows = rows_of(cost)
    front = [rows[0], rows[1], rows[4]]
    path = tmp_path / "front.svg"
    write_front_plot(rows, front, cost, path)
    runs, best = drawn(path)
    assert len(runs) == len(rows)
    order = np.argsort(SIZES, kind="stable")
    steps = np.diff(runs[order, 0])
    assert (steps[[0, 2, 3, 4]] > 1).all() and abs(steps[1]) < 1e-3
    # Two decades are twice as wide as one, beyond the part around zero that is linear.
    assert steps[3] / steps[2] == pytest.approx(2, rel=1e-3)
    # Scores are linear, upwards.
    slope = (runs[1, 1] - runs[0, 1]) / (SCORES[1] - SCORES[0])
    assert slope < 0
    np.testing.assert_allclose(
        runs[:, 1] - runs[0, 1], slope * (np.array(SCORES) - SCORES[0]), atol=1e-3
    )
    np.testing.assert_allclose(best, runs[[0, 1, 4]], atol=1e-3)


def test_the_plot_is_replaced_whole(tmp_path):
    path = tmp_path / "front.svg"
    path.write_text("older")
    write_front_plot(rows_of("bytes"), rows_of("bytes")[:1], "bytes", path)
    assert ElementTree.parse(path).getroot().tag == f"{SVG}svg"
    assert [p.name for p in tmp_path.iterdir()] == ["front.svg"]


def test_a_plot_that_fails_leaves_the_older_one(tmp_path):
    path = tmp_path / "front.svg"
    path.write_text("older")
    with pytest.raises(KeyError, match="parmas"):
        write_front_plot(rows_of("bytes"), [], "parmas", path)
    assert path.read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["front.svg"]
