"""The front, the table and the picture of a search."""

import pytest

from packd_jax.prefetch.budget_plot import budget_table, front, write_budget_plot

POINTS = [(500, 90, 1.2), (400, 50, 1.1), (400, 60, 1.15), (900, 40, 1.19), (2000, 300, 1.3)]
DESIGN = {
    "look_back": 10,
    "vocabulary": [8, 4, 12],
    "width": 16,
    "weight_bits": 4,
    "arm": "kd",
}


@pytest.fixture
def found():
    rows = [
        {"bytes": size, "kernel_cycles": cycles, "speedup": speedup, "f1": 0.5, "design": DESIGN}
        for size, cycles, speedup in POINTS
    ]
    test = {"coverage": 0.25, "accuracy": 0.5}
    judged = {"test": test, "test_speedup": 1.05, "ns_per_access": 31.4}
    chosen = [
        {"budget_bytes": 1024, **rows[0], **judged},
        {"budget_bytes": 4096, **rows[4], **judged, "ns_per_access": None},
    ]
    return {"candidates": rows, "chosen": chosen}


def test_nothing_beats_the_front(found):
    rows = found["candidates"]
    assert [row["bytes"] for row in front(rows, "bytes")] == [400, 500, 2000]
    assert [row["speedup"] for row in front(rows, "bytes")] == [1.15, 1.2, 1.3]
    assert [row["kernel_cycles"] for row in front(rows, "kernel_cycles")] == [40, 90, 300]


def test_the_table_has_a_row_for_each_budget(found):
    head, rule, small, large = budget_table(found).splitlines()
    assert head.count("|") == rule.count("|") == small.count("|") == large.count("|")
    inputs = "10 loads, 16+8 deltas, 12 PCs"
    assert small == (
        f"| 1,024 | 500 | 90 | 31 | kd | 4 | {inputs} | 16 | 0.5000 | 1.2000 | 1.0500 |"
        " 25.0 % | 50.0 % |"
    )
    assert large.startswith("| 4,096 | 2,000 | 300 |  | kd |")


def test_the_picture_is_a_png_and_whole(found, tmp_path):
    path = tmp_path / "pareto.png"
    write_budget_plot(found, path)
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG") and first.endswith(b"IEND\xaeB`\x82")
    write_budget_plot(found, path)
    assert path.read_bytes() == first
    with pytest.raises(KeyError):
        write_budget_plot({**found, "candidates": [{}]}, path)
    assert path.read_bytes() == first and list(tmp_path.iterdir()) == [path]
