"""The report: its numbers, its escaping, and the studies that lack something."""

import copy
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from packd_jax import report_plots as plots
from packd_jax import report_sections as sections
from packd_jax import summary
from packd_jax.config import ARMS, Config, EntryConfig, QuirksConfig, TraceConfig, to_json_dict
from packd_jax.report import write_report

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that every element is closed; keeps table rows by their cells, text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.marked: list[list[str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            if ("class", "marked") in attrs:
                self.marked.append(self.rows[-1])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    def row(self, *first: str) -> list[str]:
        """The first table row that starts with these cells."""
        return next(row for row in self.rows if tuple(row[: len(first)]) == first)


def study(arms=ARMS, seeds=(0, 1, 2), entries=("tokens",), drawn=False, **config):
    """What run_study returns, small and with known numbers: F1 is 0.4 + 0.01 arm + 0.02 seed.

    Unless `drawn` it has no clusters, curves and thresholds, which take most of a page's time.
    """
    whole = Config(
        name="known", entries={e: EntryConfig() for e in entries}, arms=arms, seeds=seeds, **config
    )
    learned = [arm for arm in arms if arm != "marginal"]
    rows = [
        {
            "entry": entry,
            "encoding": "tokens",
            "model": "marginal" if arm == "marginal" else "token_mlp",
            "params": 0 if arm == "marginal" else 1774,
            "bytes": 32 if arm == "marginal" else 7096,
            "arm": arm,
            "seed": seed,
            "f1": 0.4 + 0.01 * ARMS.index(arm) + 0.02 * seed + 0.1 * e,
            "precision": 0.25,
            "recall": 0.75,
            "average_precision": 0.3125,
            "f1_at_half": float("nan"),
            "threshold": 0.125,
            "validation_f1": 0.3 + 0.01 * ARMS.index(arm) + 0.02 * seed,
            "steps": 0 if arm == "marginal" else 3000,
            "train_seconds": 1.25,
            "checkpoint": None,
            "alpha": [0.1] if arm in ("kd", "packd") else [1.0],
            "temperature": 2.0,
            "clusters": "d2" if arm == "packd" else None,
        }
        for e, entry in enumerate(entries)
        for arm in arms
        for seed in seeds
    ]
    detail = {
        "rows": {"train": 1000, "validation": 200, "test": 300},
        "label_frequency": np.linspace(0.5, 0.0, 256),
        "teachers": {
            "kd-0": {"validation_f1": 0.9, "clusters": 1, "steps": 500},
            "packd-d2-0": {"validation_f1": 0.1, "clusters": 2, "steps": 500},
        },
        "clusters": {
            "d2": {
                "feature": "d",
                "sizes": [900, 100],
                "test_rows": [300, 0],
                "test_f1": {arm: [0.5, float("nan")] for arm in learned},
            }
        },
        "curves": [
            {"arm": a, "seed": s, "step": [10, 20], "loss": [0.5, 0.25], "validation_f1": [0.1, s]}
            for a in learned
            for s in seeds
        ],
        "threshold_curve": {
            "arm": arms[-1],
            "seed": seeds[-1],
            "threshold": [0.0, 0.125, 1.0],
            "test_f1": [0.2, 0.4, 0.0],
        },
    }
    if not drawn:
        detail |= {"clusters": {}, "curves": [], "threshold_curve": None}
    return {
        "trace": {
            "path": "traces/bfs.txt.gz",
            "sha256": "ab" * 32,
            "trace_rows": 2000,
            "rows": dict.fromkeys(entries, detail["rows"]),
        },
        "environment": {
            "versions": {"python": "3.11.7", "jax": None},
            "git_commit": None,
            "platform": "Linux",
            "backend": "cpu",
            "device_kind": "cpu",
            "device_count": 1,
            "cpu_model": None,
            "cpu_cores": 2,
        },
        "config": to_json_dict(whole),
        "rows": rows,
        "selected": max(range(len(rows)), key=lambda i: rows[i]["validation_f1"]),
        "differences": summary.paired_differences(rows),
        "details": {entry: copy.deepcopy(detail) for entry in entries},
    }


def text_of(results, directory: Path) -> str:
    write_report(results, directory / "report.html")
    assert [file.name for file in directory.iterdir()] == ["report.html"]  # nothing half written
    return (directory / "report.html").read_text(encoding="utf-8")


def page_of(results, directory: Path) -> Page:
    return Page(text_of(results, directory))


NASTY = "<script>alert('1')</script> $x_$ 数 & \"q\""


def full_study():
    """Everything there is, under names that want to be more than names."""
    paths = (f"a,b {NASTY}.txt",)
    results = study(entries=("tokens", NASTY), drawn=True, trace=TraceConfig(paths=paths))
    results["config"]["name"] = NASTY
    results["trace"]["path"] = f"a,b {NASTY}.txt\udcff"  # a file name that is not UTF-8
    return results


@pytest.fixture(scope="module")
def full_text(tmp_path_factory) -> str:
    return text_of(full_study(), tmp_path_factory.mktemp("full"))


def test_every_arm_has_its_numbers(full_text):
    results, page = full_study(), Page(full_text)
    f1 = summary.by_arm(results["rows"], "f1")
    for (entry, arm), (mean, half) in f1.items():
        row = page.row(entry, arm)
        size = ["0", "32"] if arm == "marginal" else ["1,774", "7,096"]
        steps = "0" if arm == "marginal" else "3,000"
        scores = ["0.2500", "0.7500", "0.3125", "–"]
        validation = f"{0.3 + 0.01 * ARMS.index(arm) + 0.02:.4f}"
        assert row[3:] == [*size, f"{mean:.4f} ± {half:.4f}", *scores, validation, steps, "1.2"]
    assert page.row("tokens", "packd")[2] == "α 0.1, T 2, d2"
    assert page.row("tokens", "no_kd")[2] == "–"
    # Half-width of 0.40, 0.42, 0.44: t(0.975, 2) * 0.02 / sqrt(3).
    assert page.row("tokens", "marginal")[5] == "0.4200 ± 0.0497"
    assert page.marked[0][:2] == ["tokens", "cluster_input_kd"]
    assert "the study selects tokens, cluster_input_kd, seed 2: test F1 0.5100" in page.text


def test_differences_that_exclude_zero_are_marked():
    pairs = [
        {"first": first, "second": "no_kd", "entry": "tokens", "seeds": 3, "difference": mean}
        | {"half_width": 0.02, "relative": mean / 0.4, "relative_half_width": 0.05}
        for first, mean in (("kd", -0.03), ("packd", 0.03), ("cluster_input", 0.01))
    ]
    page = Page("".join(sections.differences(pairs)))
    assert page.row("tokens", "kd − no_kd")[2:] == [
        "lower",
        "−0.0300 ± 0.0200",
        "−7.5% ± 5.0%",
        "3",
    ]
    assert page.row("tokens", "packd − no_kd")[2:4] == ["higher", "+0.0300 ± 0.0200"]
    assert page.row("tokens", "cluster_input − no_kd")[2:4] == ["–", "+0.0100 ± 0.0200"]
    marked = [row[1] for row in page.marked if "− no_kd" in row[1]]
    assert marked == ["kd − no_kd", "packd − no_kd"]
    assert "2 of 3 intervals exclude zero; about 0.1 would by chance" in page.text


def test_teachers_no_better_than_the_student_are_marked():
    page = Page("".join(sections.teachers(study())))  # plain student: 0.31, 0.33, 0.35
    assert page.row("tokens", "kd-0")[2:] == ["better", "0.9000", "0.3300", "1", "500"]
    assert page.row("tokens", "packd-d2-0")[2:] == ["no better", "0.1000", "0.3300", "2", "500"]
    assert page.row("tokens", "packd-d2-0") in page.marked
    without = Page("".join(sections.teachers(study(arms=("kd",)))))
    assert without.row("tokens", "kd-0")[2:5] == ["–", "0.9000", "–"]


def test_names_and_paths_are_escaped(full_text):
    assert "<script" not in full_text
    page = Page(full_text)
    assert f"PaCKD study: {NASTY}" in page.text
    assert f"a,b {NASTY}.txt\\udcff" in page.text
    quoted = NASTY.replace("'", "'\"'\"'")
    assert f"'--config=experiments/configs/packd.py:{quoted}'" in page.text
    assert f"'--trace=\"a,b {quoted}.txt\"'" in page.text


def test_page_needs_nothing_else_and_repeats_no_id(full_text):
    text, page = full_text, Page(full_text)
    assert not re.search(r"@import|url\((?!#)", text)
    tags = {tag for tag, _, _ in page.attributes} | set(re.findall(r"<([a-z]+)", text))
    assert not tags & {"script", "link", "img", "iframe", "object", "image"}
    references = [v for _, name, v in page.attributes if name in ("href", "src", "xlink:href")]
    assert references and all(value.startswith("#") for value in references)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references} <= set(ids)
    figures = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert len(figures) == len(set(figures)) == text.count("<svg") == 12


def test_equal_results_give_equal_bytes(full_text, tmp_path):
    stored = full_study()
    # As results.json holds it: null for NaN, lists for arrays.
    for row in stored["rows"]:
        row["f1_at_half"] = None
    for detail in stored["details"].values():
        detail["label_frequency"] = detail["label_frequency"].tolist()
    assert text_of(stored, tmp_path) == full_text


def test_single_seed(tmp_path):
    page = page_of(study(arms=("kd", "packd"), seeds=(7,), drawn=True), tmp_path)
    assert page.row("tokens", "kd")[5] == "0.5600"
    assert page.row("tokens", "packd − kd")[2:4] == ["–", "+0.0100"]
    assert "One seed gives differences without intervals" in page.text
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("arm", ["no_kd", "marginal"])
def test_single_arm_without_clusters(arm, tmp_path):
    results = study(arms=(arm,), drawn=True)
    results["details"]["tokens"] |= {"clusters": {}, "teachers": {}, "threshold_curve": None}
    page = page_of(results, tmp_path)
    assert page.row("tokens", arm)[6] == "0.2500"
    for absent in ("Paired differences", "Clusters", "Teachers", "Threshold"):
        assert absent not in page.text
    assert ("training steps" in page.text) == (arm == "no_kd")


def test_scores_that_are_all_missing(tmp_path):
    results = study(arms=("no_kd", "kd"), drawn=True)
    for row in results["rows"]:
        row["f1"] = row["validation_f1"] = row["threshold"] = None
    results["differences"] = summary.paired_differences(
        [r | {"f1": np.nan} for r in results["rows"]]
    )
    for curve in results["details"]["tokens"]["curves"]:
        curve["validation_f1"] = [None, None]
    page = page_of(results, tmp_path)
    assert page.row("tokens", "kd")[5] == "–"
    assert page.row("tokens", "kd − no_kd")[2:5] == ["–", "–", "–"]
    assert page.row("tokens", "kd-0")[2:5] == ["–", "0.9000", "–"]


def test_choices_on_test_are_said(full_text, tmp_path):
    assert "quirks" not in Page(full_text).text.partition("All settings")[0]
    quirks = QuirksConfig(select_on_test=True, half_kl=True, packd_learning_rate_factor=2.0)
    page = page_of(study(arms=("kd",), quirks=quirks), tmp_path)
    assert (
        "With the authors' quirks select_on_test, packd_learning_rate_factor, half_kl." in page.text
    )
    assert "its scores flatter" in page.text and "By test F1 (" in page.text


def test_several_traces_and_the_command(tmp_path):
    results = study(arms=("kd",), trace=TraceConfig(paths=("a.txt", "b c.txt")))
    results["trace"] |= {"path": ["a.txt", "b c.txt"], "sha256": ["1" * 64, "2" * 64]}
    page = page_of(results, tmp_path)
    assert "1" * 64 in page.text and "2" * 64 in page.text
    assert (
        "python -m experiments.packd --config=experiments/configs/packd.py:known"
        " '--trace=a.txt,b c.txt'" in page.text
    )


def test_what_is_no_study_is_refused_and_the_old_page_kept(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match=r"keys \['rows'\]: expected trace, environment"):
        write_report({"rows": []}, tmp_path / "report.html")
    with pytest.raises(ValueError, match="expected some rows"):
        write_report(study() | {"rows": []}, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


def test_every_arm_has_a_colour_and_a_meaning():
    assert set(plots.ARM_STYLES) == set(sections.ARMS) == set(ARMS)
    assert len({style.colour for style in plots.ARM_STYLES.values()}) == len(ARMS)


def test_delta_histogram_puts_bits_at_their_deltas():
    axes = Figure().add_subplot()
    plots.delta_histogram(axes, [0.1, 0.2, 0.3, 0.4])  # bits of +1, +2, -2, -1
    drawn = {}
    for patch in axes.patches:
        values, edges, _ = patch.get_data()
        drawn |= {(a + b) / 2: v for a, b, v in zip(edges, edges[1:], values)}
    assert drawn == {-2: 0.3, -1: 0.4, 1: 0.1, 2: 0.2}


def test_mean_curve_is_the_mean_of_the_seeds():
    curves = [
        {"arm": "kd", "seed": s, "step": [10, 20], "loss": [s, 2 * s], "validation_f1": [0, 0]}
        for s in (1, 3)
    ]
    axes = Figure().add_subplot()
    plots.training_curves(axes, curves, "loss", "loss")
    (mean,) = (line for line in axes.lines if line.get_label() == "kd")
    assert mean.get_xydata().tolist() == [[10, 2], [20, 4]]


def test_frontier_is_the_best_mean_of_at_most_that_size():
    rows = [
        {"entry": e, "arm": a, "seed": 0, "bytes": size, "f1": f1}
        for e, a, size, f1 in (
            ("x", "kd", 100, 0.5),
            ("x", "no_kd", 10, 0.4),
            ("y", "kd", 1000, 0.3),
        )
    ]
    axes = Figure().add_subplot()
    plots.f1_against_size(axes, rows)
    (frontier,) = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert frontier.get_xydata().tolist() == [[10, 0.4], [100, 0.5], [1000, 0.5]]
