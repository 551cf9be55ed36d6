"""The plot of a map, read back from its SVG."""

import re

import pytest

from packd_jax.kd_map_plot import write_map_plot

PAIRS = [
    ("kd", "no_kd"),
    ("packd", "kd"),
    ("packd", "no_kd"),
    ("cluster_input", "no_kd"),
    ("kd", "packd"),
]


def difference(pair, rows, relative, half):
    return {
        "first": pair[0],
        "second": pair[1],
        "rows": rows,
        "teacher_steps": 60,
        "params": 1774,
        "difference": relative / 2,
        "half_width": None if half is None else half / 2,
        "relative": relative,
        "relative_half_width": half,
    }


@pytest.mark.parametrize("pairs", [PAIRS[:1], PAIRS])
def test_a_panel_for_each_pair_and_a_filled_mark_where_zero_is_excluded(tmp_path, pairs):
    path = tmp_path / "map.svg"
    path.write_text("older")
    regimes = [(300, 0.05, 0.02), (0, 0.01, 0.02), (500, -0.03, None)]
    write_map_plot([difference(p, *regime) for p in pairs for regime in regimes], path)
    text = path.read_text()
    titles = re.findall(r"<!-- (\w+) -->\s", text)
    assert [t for t in titles if t == "kd"] == ["kd"] * sum(p[0] == "kd" for p in pairs)
    for label in ("300 rows, teacher 60, 1,774 p.", "all rows, teacher 60, 1,774 p."):
        assert f"<!-- {label} -->" in text
    # Of three regimes one excludes zero, one does not, and one has no interval.
    assert text.count("fill: #ffffff; stroke:") == 2 * len(pairs)
    assert list(tmp_path.iterdir()) == [path]
