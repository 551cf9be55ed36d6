"""The page of prefetchers: its numbers, means over traces, escaping, and what it refuses."""

import copy
import re

import pytest
from test_report import Page

from packd_jax.prefetch import report
from packd_jax.prefetch.compare import as_markdown
from packd_jax.prefetch.outcome import DEFINITIONS, Outcome
from packd_jax.prefetch.report import write_report

BINS = 24
NASTY = "<b>x</b> & $y$"


def outcome(name, est_cycles, size=0, useful=300):
    """What a prefetcher did, with numbers that follow from these."""
    return Outcome(
        name=name,
        bytes=size,
        issued=3 * useful,
        useful=useful,
        useless=100,
        late=useful // 3,
        accuracy=useful / (useful + 100),
        coverage=useful / 1000,
        mpki=(1000 - useful) / 50,
        mpki_none=20.0,
        est_cycles=est_cycles,
        loads=1234,
        misses=1000 - useful,
        instructions=50_000,
        polluting=0,
        requested=3 * useful,
        touches=0,
        merged=0,
        queue_drops=0,
        page_drops=0,
        unused_before=0,
        unused_after=0,
        timeliness=(0, useful, *[0] * (BINS - 2)),
        lateness=(0, useful // 3, *[0] * (BINS - 2)),
    )


OUTCOMES = [
    outcome("none", 8_000_000, useful=0),
    outcome("stride", 5_000_000, 1984, 400),
    outcome("oracle", 2_000_000, 0, 990),
    outcome("student_int8", 4_000_000, 1900, 600),
]


def result(trace="traces/bfs.txt.xz", outcomes=OUTCOMES, latencies=(0,), slower=0, **given):
    """A results.json, whose cycles grow by `slower` with each inference latency but those of none.

    Latencies of None leave `inference_cycles` out.
    """
    rows = [
        o.as_row()
        | ({} if cycles is None else {"inference_cycles": cycles})
        | {"est_cycles": o.est_cycles + slower * i * (o.name != "none")}
        | ({"policy": {"threshold": 0.25}} if o.name == NASTY else {})
        | ({"retention": {"entries": 64}} if o.name == NASTY else {})
        for i, cycles in enumerate(latencies)
        for o in outcomes
    ]
    return {
        "trace": trace,
        "checkpoint": "runs/packd",
        "from_instr": 8_000_000,
        "environment": {"platform": "Linux"},
        "machine": {"llc": {"size_bytes": 2097152, "ways": 16}, "banks": 8, "inference_cycles": 20},
        "definitions": DEFINITIONS,
        "rows": rows,
        **given,
    }


def text_of(directory, results):
    write_report(results, directory / "report.html")
    assert [file.name for file in directory.iterdir()] == ["report.html"]  # nothing half written
    return (directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Of one trace at two latencies; a student's name is as nasty as names may be."""
    rows = [*OUTCOMES[:3], outcome(NASTY, 4_000_000, 1900, 600)]
    found = result(outcomes=rows, latencies=(0, 100), slower=1_000_000)
    return text_of(tmp_path_factory.mktemp("page"), found)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_table_has_the_numbers_of_the_markdown(page):
    rows = [*OUTCOMES[:3], outcome(NASTY, 4_000_000, 1900, 600)]
    head, _, *lines = (
        [c.strip() for c in x.split("|")[1:-1]] for x in as_markdown(rows).split("\n")
    )
    start = page.rows.index(head)
    assert page.rows[start + 1 : start + 5] == lines
    assert lines[1][-1] == "1.600"  # and these are what they should be
    assert page.marked[0] == lines[3]  # the fastest but for the bound


def test_other_latencies_have_a_table_each(page):
    assert "bfs at an inference latency of 100 cycles" in page.text
    head = [i for i, row in enumerate(page.rows) if row[:2] == ["prefetcher", "bytes"]]
    assert len(head) == 2
    later = page.rows[head[1] + 1 : head[1] + 5]
    assert [row[-1] for row in later] == ["1.000", "1.333", "2.667", "1.600"]


def test_what_it_was_judged_on_is_said(page):
    assert "1,234 loads of the LLC in 50,000 instructions from 8,000,000 on" in page.text
    assert "1,000 miss without prefetches (20.00 per 1,000 instructions)" in page.text
    assert "Inference latency 0 cycles" in page.text and '"checkpoint": "runs/packd"' in page.text


def test_definitions_machine_and_policies(page):
    assert "accuracyuseful / (useful + useless)" in page.text  # term and meaning
    assert "pollutingload misses that the same LLC without prefetches would have hit" in page.text
    assert page.row("llc.size_bytes") == ["llc.size_bytes", "2097152"]
    assert page.row("setting", NASTY)
    assert page.row("policy.threshold") == ["policy.threshold", "0.25"]
    assert page.row("retention.entries") == ["retention.entries", "64"]


def test_every_figure_says_how_to_read_it_and_needs_nothing_else(text, page):
    assert not re.search(r"@import|url\((?!#)", text)
    tags = {tag for tag, _, _ in page.attributes} | set(re.findall(r"<([a-z]+)", text))
    assert not tags & {"script", "link", "img", "iframe", "object", "image"}
    references = [v for _, name, v in page.attributes if name in ("href", "src", "xlink:href")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert references and len(ids) == len(set(ids))
    assert {value.removeprefix("#") for value in references} <= set(ids)
    figures = [v for tag, name, v in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert figures == [f"{title}, bfs" for title in _titles()] and text.count("<svg") == 5
    for sentence in report._READ.values():
        assert sentence in page.text


def _titles():
    first = ["Coverage against accuracy", "MPKI and speed-up", "Speed-up against size"]
    return [*first, "Timeliness", "Speed-up against inference latency"]


def test_names_are_escaped(text, page):
    assert "<b>" not in text and NASTY in page.text


def test_several_traces_have_their_geometric_mean(tmp_path):
    faster = [outcome("none", 8_000_000, useful=0), outcome("stride", 500_000, 1984)]
    found = [result(), result("sssp.txt.gz", faster, machine={"banks": 4, "inference_cycles": 0})]
    text = text_of(tmp_path, found)
    page = Page(text)
    head = ["prefetcher", "bytes", "bfs", "sssp", "geometric mean, 0 cycles"]
    start = page.rows.index(head)
    assert page.rows[start + 1 : start + 5] == [
        ["none", "0", "1.000", "1.000", "1.000"],
        ["stride", "1,984", "1.600", "16.000", "5.060"],  # sqrt(1.6 * 16)
        ["oracle", "0", "4.000", "–", "–"],
        ["student_int8", "1,900", "2.000", "–", "–"],
    ]
    assert page.marked[0][0] == "stride"
    assert text.count("<h2>bfs</h2>") == text.count("<h2>sssp</h2>") == 1
    assert page.text.count("polluting") == 1  # equal definitions once
    assert "The machines differ" in page.text
    assert page.row("setting", "bfs") == ["setting", "bfs", "sssp"]
    assert page.row("banks") == ["banks", "8", "4"]
    assert page.row("llc.ways") == ["llc.ways", "16", "–"]


def test_runs_of_a_trace_count_once():
    runs = [result(outcomes=[OUTCOMES[0], outcome("mine", c)]) for c in (4_000_000, 1_000_000)]
    other = result("cc.txt", [OUTCOMES[0], outcome("mine", 250_000)])
    gains = report.gains([*runs, other])["mine"]
    assert gains[0] == pytest.approx({"bfs": 4.0, "cc": 32.0})  # sqrt(2 * 8)
    assert report.means([*runs, other])["mine"] == pytest.approx({0: 128**0.5})


def test_latencies_are_of_the_rows_or_else_of_the_machine():
    assert list(report.by_latency(result(latencies=(None,)))) == [20]
    assert list(report.by_latency(result(latencies=(None,), machine={}))) == [0]
    found = result(latencies=(100, 0))
    found["rows"] = [r for r in found["rows"] if r["name"] != "none" or r["inference_cycles"]]
    names = [(c, [row["name"] for row in rows]) for c, rows in report.by_latency(found).items()]
    assert names == [(c, [o.name for o in OUTCOMES]) for c in (0, 100)]


def test_traces_are_named_by_their_files_unless_these_are_alike():
    one, two, third = result("a/bfs.txt.xz"), result("b/bfs.txt"), result("b/cc.txt")
    assert report.trace_names([one, third, one]) == ["bfs", "cc", "bfs"]
    assert report.trace_names([one, two, third]) == [
        *("a/bfs.txt.xz from 8,000,000", "b/bfs.txt from 8,000,000", "cc")
    ]
    later = {**one, "from_instr": 9}
    assert report.trace_names([one, later])[1] == "a/bfs.txt.xz from 9"


def test_timeliness_shows_the_fastest_of_each_kind():
    classical = ("next_line", "stride", "stream", "best_offset")
    found = [outcome(name, 1000 - i) for i, name in enumerate(classical)]
    found += [outcome(f"s{i}", 500 + i) for i in range(4)]
    found += [outcome("quiet", 100, useful=0), outcome("oracle", 1), outcome("none", 2000, 0)]
    names = [row["name"] for row in report.timed_rows([o.as_row() for o in found])]
    assert names == ["best_offset", "stream", "stride", "s0", "s1", "s2"]


def test_equal_results_give_equal_bytes_and_nothing_useful_has_no_timeliness(tmp_path):
    rows = [OUTCOMES[0], outcome("mine", 9_000_000, 10, 0)]
    found = result(outcomes=rows)
    kept = copy.deepcopy(found)
    text = text_of(tmp_path, found)
    assert text_of(tmp_path, [found]) == text and found == kept
    assert "Timeliness" not in text and text.count("<svg") == 3
    assert Page(text).row("mine")[-1] == "0.889"


def test_what_is_no_result_is_refused_and_the_old_page_kept(tmp_path):
    (tmp_path / "report.html").write_text("old")
    without = {key: value for key, value in result().items() if key not in ("rows", "machine")}
    for given, message in (
        ([], "expected trace, from_instr, machine, definitions, rows too"),
        (without, r"'trace'\]: expected machine, rows too; pass what experiments.prefetch"),
        ([result(), result(outcomes=OUTCOMES[1:])], "expected a row of none too"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(given, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"
