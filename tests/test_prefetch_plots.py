"""What the page of prefetchers draws: where marks, bars, lines and names stand."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from packd_jax.prefetch import plots
from packd_jax.prefetch.baselines import BASELINES

BINS = 24
NAMES = [*BASELINES, "oracle", "student_fp32", "student_int8", "student_int8_adapted"]


def row(name, cycles=1000, **given):
    """A row of results.json; without histograms given, one block each that is useful and late."""
    return {
        "name": name,
        "bytes": 0,
        "accuracy": 0.5,
        "coverage": 0.5,
        "mpki": 10.0,
        "est_cycles": cycles,
        "timeliness": [1] + [0] * (BINS - 1),
        "lateness": [0, 1] + [0] * (BINS - 2),
        **given,
    }


def axes_with(draw, data):
    axes = Figure(figsize=(5, 4), layout="constrained").add_subplot()
    draw(axes, data)
    return axes


def panels_with(draw, data):
    figure = Figure(figsize=(5, 4), layout="constrained")
    draw(figure.add_subplot(), data)
    return figure.axes


def marks(axes):
    """Colours and places of the marks with a name, by that name."""
    places = {note.get_text(): tuple(note.xy) for note in axes.texts}
    points = {
        tuple(map(float, (line.get_xdata()[0], line.get_ydata()[0]))): line
        for line in axes.lines
        if len(line.get_xdata()) == 1 and line.get_marker() != "None"
    }
    return {name: (points[place], place) for name, place in places.items() if place in points}


def test_kinds():
    assert plots.kind_of("none") == plots.NONE and plots.kind_of("oracle") == plots.BOUND
    assert {plots.kind_of(name) for name in BASELINES if name != "none"} == {plots.CLASSICAL}
    assert plots.kind_of("student_int8") == plots.kind_of("anything") == plots.STUDENT


def test_speedups_are_over_none_and_the_fastest_comes_first():
    rows = [row("stride", 500), row("none", 1000), row("oracle", 100), row("mine", 250)]
    assert plots.speedups(rows) == [2.0, 1.0, 10.0, 4.0]
    assert plots.built(rows) == [(rows[3], 4.0), (rows[0], 2.0)]


def test_the_plane_has_every_prefetcher_at_its_place():
    rows = [row("none", accuracy=0.0, coverage=0.0), row("stride", accuracy=0.75, coverage=0.25)]
    rows += [row("mine", accuracy=0.1, coverage=0.9), row("oracle", accuracy=1.0, coverage=1.0)]
    found = marks(axes_with(plots.coverage_against_accuracy, rows))
    assert {name: place for name, (_, place) in found.items()} == {
        "stride": (0.75, 0.25),
        "mine": (0.1, 0.9),
        "oracle": (1.0, 1.0),
    }
    for name, (mark, _) in found.items():
        kind = plots.kind_of(name)
        assert (mark.get_color(), mark.get_marker()) == (kind.colour, kind.marker)
        assert mark.get_markerfacecolor() == kind.fill


@pytest.mark.parametrize(("useful", "misses", "useless"), [(30, 70, 100), (10, 30, 10), (9, 1, 40)])
def test_dotted_lines_are_useless_blocks_for_each_miss_or_useful_one(useful, misses, useless):
    axes = axes_with(plots.coverage_against_accuracy, [row("none")])
    label = {1: "1", 1 / 4: "¼", 4: "4"}[useless / (useful + misses)]
    end = next(note.xy for note in axes.texts if note.get_text() == label)
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    (line,) = (line for line in dotted if tuple(line.get_xydata()[-1]) == end)
    at = np.interp(useful / (useful + misses), line.get_ydata(), line.get_xdata())
    assert at == pytest.approx(useful / (useful + useless), abs=1e-3)


def extents(axes, renderer, names):
    """Boxes of the names as drawn, [left, bottom, right, top] in pixels."""
    return {
        note.get_text(): note.get_tightbbox(renderer).extents
        if note.arrow_patch is None
        else note.get_bbox_patch().get_window_extent(renderer).extents
        for note in axes.texts
        if note.get_text() in names
    }


@pytest.mark.parametrize("spread", [0.005, 0.05, 0.1, 0.5])
def test_names_stand_apart_however_the_marks_crowd(spread):
    places = 0.5 + spread * np.random.default_rng(0).uniform(-1, 1, (len(NAMES), 2))
    rows = [row(n, accuracy=x, coverage=y) for n, (x, y) in zip(NAMES, places.tolist())]
    axes = axes_with(plots.coverage_against_accuracy, rows)
    axes.figure.draw_without_rendering()
    boxes = extents(axes, axes.figure._get_renderer(), NAMES)
    assert len(boxes) == len(NAMES) - 1  # all but none
    low, high = axes.get_window_extent().get_points()
    for left, bottom, right, top in boxes.values():
        assert (low - 2 <= (left, bottom)).all() and ((right, top) <= high + 2).all()
    for one, other in itertools.combinations(boxes.values(), 2):
        wide, tall = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
        assert wide <= 2 or tall <= 2  # pixels, at 100 an inch
    for note in (note for note in axes.texts if note.get_text() in boxes):
        left, bottom, right, top = boxes[note.get_text()]
        x, y = axes.transData.transform(note.xy)
        gap = max(left - x, x - right, bottom - y, y - top)
        assert gap < 15 or note.arrow_patch is not None  # a name that is far has a line to it
    drawn = axes.transData.transform(places[1:])
    for left, bottom, right, top in boxes.values():
        inside = (drawn > (left + 2, bottom + 2)) & (drawn < (right - 2, top - 2))
        assert not inside.all(axis=1).any()


def test_timeliness_has_shares_of_useful_right_of_zero_and_late_left():
    useful, late = np.zeros((2, BINS), int).tolist()
    useful[0], useful[9], late[1], late[9] = 10, 50, 30, 10
    first = row("stride", timeliness=useful, lateness=late)
    axes = panels_with(plots.timeliness, [first, row("mine")])
    assert [a.get_title() for a in axes] == ["stride\n40.0 % late", "mine\n50.0 % late"]
    bars = {bar.get_x(): bar.get_height() for bar in axes[0].patches if bar.get_height()}
    assert bars == pytest.approx({0: 0.1, 9: 0.5, -2: 0.3, -10: 0.1})
    assert {bar.get_width() for bar in axes[0].patches} == {1}
    low, high = axes[0].get_xlim()
    assert -11 <= low < -10 and 10 < high <= 11  # nothing is cut off, and little is empty
    assert axes[1].get_xlim() == (low, high) and axes[1].get_ylim() == axes[0].get_ylim()


def test_ticks_of_timeliness_are_where_their_cycles_begin():
    axes = panels_with(plots.timeliness, [row("mine")])[0]
    ticks = {
        tick: label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels())
    }
    cycles = {"0": 0, "256": 256, "64 Ki": 65536}
    # Bin k of a histogram counts numbers of k bits, and is the bar from k to k + 1.
    assert ticks == {
        sign * cycles[text].bit_length(): text
        for sign, text in ((-1, "256"), (1, "0"), (1, "256"), (1, "64 Ki"))
    }


@pytest.mark.parametrize("count", [1, 4])
def test_every_prefetcher_has_a_panel(count):
    rows = [row(name) for name in NAMES[1 : count + 1]]
    assert [a.get_title().split("\n")[0] for a in panels_with(plots.timeliness, rows)] == [
        r["name"] for r in rows
    ]


def test_bars_are_ordered_by_speedup_and_start_at_none():
    rows = [row("none", 1000, mpki=20.0), row("stride", 2000, mpki=25.0)]
    rows += [row("mine", 500, mpki=8.0), row("oracle", 250, mpki=0.0)]
    left, right = panels_with(plots.mpki_and_speedup, rows)
    assert [t.get_text() for t in left.get_yticklabels()] == ["oracle", "mine", "none", "stride"]

    def bars(axes):
        found = {round(bar.get_y() + bar.get_height() / 2): bar for bar in axes.patches}
        return [found[place] for place in range(4)]

    assert [(bar.get_x(), bar.get_width()) for bar in bars(left)] == [
        *((0, 0.0), (0, 8.0), (0, 20.0), (0, 25.0))
    ]
    assert [(bar.get_x(), bar.get_width()) for bar in bars(right)] == [
        *((1, 3.0), (1, 1.0), (1, 0.0), (1, -0.5))
    ]
    fills = [to_hex(bar.get_facecolor()) for bar in bars(left)]
    assert fills == ["#ffffff", plots.STUDENT.colour, plots.NONE.colour, plots.CLASSICAL.colour]
    assert [note.get_text() for note in left.texts] == ["0.00", "8.00", "20.00", "25.00"]
    assert [note.get_text() for note in right.texts] == ["4.000", "2.000", "1.000", "0.500"]
    assert left.lines[0].get_xdata()[0] == 20 and right.lines[0].get_xdata()[0] == 1
    assert left.get_xlim()[1] > 25 and right.get_xlim()[0] < 0.5 and right.get_xlim()[1] > 4
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first is on top


def sized(*sizes_and_cycles):
    names = ["next_line", "mine", "stride", "temporal", "other"]
    rows = [row(name, c, bytes=b) for name, (b, c) in zip(names, sizes_and_cycles)]
    return [row("none", 1000), row("oracle", 100), *rows]


def test_size_has_the_front_and_the_bytes_at_their_places():
    rows = sized((0, 800), (100, 500), (1000, 625), (1000, 400), (100_000, 400))
    axes = axes_with(plots.speedup_against_size, rows)
    places = {name: place for name, (_, place) in marks(axes).items()}
    zero = places.pop("next_line")
    assert zero[1] == 1.25 and axes.get_xlim()[0] < zero[0] < 50  # left of the line between
    assert dict(zip(axes.get_xticks(), (t.get_text() for t in axes.get_xticklabels()))) == {
        zero[0]: "0 B",
        100: "100 B",
        1000: "1 kB",
        10_000: "10 kB",
        100_000: "100 kB",
    }
    assert places == {
        "mine": (100, 2.0),
        "stride": (1000, 1.6),
        "temporal": (1000, 2.5),
        "other": (100_000, 2.5),
    }
    (front,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    x, best = front.get_data()
    assert front.get_drawstyle() == "steps-post"
    reached = {size: best[x <= size].max() for size in (zero[0], 99, 100, 999, 1000, 1e5)}
    assert reached == {zero[0]: 1.25, 99: 1.25, 100: 2.0, 999: 2.0, 1000: 2.5, 1e5: 2.5}
    assert best[0] == 1.25 and (np.diff(best) >= 0).all() and x[-1] == axes.get_xlim()[1]
    assert axes.get_title("right") == "oracle ↑ 10.000" and axes.get_ylim()[1] < 10


def test_the_front_begins_with_none_where_nothing_without_tables_is_faster():
    axes = axes_with(plots.speedup_against_size, sized((0, 1250), (100, 500)))
    (front,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    assert front.get_ydata().tolist() == [1, 1, 2, 2]


def test_latency_has_a_line_for_each_prefetcher_but_the_bound():
    gains = {
        "none": {0: 1.0, 100: 1.0},
        "oracle": {0: 9.0, 100: 8.0},
        "stride": {100: 1.2, 0: 1.5},
        "mine": {0: 1.6, 100: 1.3, 1000: 1.1},
        "late": {},
    }
    axes = axes_with(plots.speedup_against_latency, gains)
    lines = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() != "None"]
    assert lines == [[[0, 1.5], [100, 1.2]], [[0, 1.6], [100, 1.3], [1000, 1.1]]]
    assert {note.get_text(): note.xy for note in axes.texts} == {
        "stride": (100, 1.2),
        "mine": (1000, 1.1),
    }
    assert axes.get_xticks().tolist() == [0, 100, 1000]
    assert axes.get_xaxis().get_transform().linthresh == 100
    assert axes.get_ylim()[1] < 8


def test_names_of_lines_are_apart_in_the_order_of_their_ends():
    ends = {name: 1.5 + 0.001 * i for i, name in enumerate(NAMES[1:7])} | {"mine": 1.1}
    axes = axes_with(plots.speedup_against_latency, {n: {0: 1.4, 9: e} for n, e in ends.items()})
    to_points = axes.transData.transform
    heights = {
        note.get_text(): to_points(note.xy)[1] * 72 / axes.figure.dpi + note.get_position()[1]
        for note in axes.texts
    }
    assert list(heights) == sorted(ends, key=ends.get)
    steps = np.diff(list(heights.values()))
    assert steps[0] > 20 and steps[1:] == pytest.approx(9)  # points: one is alone, six crowd
    moved = [note.get_position()[1] for note in axes.texts]
    assert moved[0] == 0 and np.mean(moved[1:]) == pytest.approx(0, abs=1e-6)
    colours = {note.get_text(): note.get_color() for note in axes.texts}
    assert len(set(colours.values())) == len(colours)
    by_end = {line.get_ydata()[-1]: line.get_color() for line in axes.lines}
    assert {name: by_end[end] for name, end in ends.items()} == colours


def test_none_and_the_bound_alone():
    rows = [row("none"), row("oracle", 500, accuracy=1.0, coverage=1.0)]
    plane = axes_with(plots.coverage_against_accuracy, rows)
    assert list(marks(plane)) == ["oracle"]
    size = axes_with(plots.speedup_against_size, rows)
    assert marks(size) == {} and size.get_title("right") == "oracle ↑ 2.000"
