"""The page of a study: its numbers, and what it says where there is nothing to show."""

import json
import re

import numpy as np
import pytest
from test_report import Page

from latency_jax.collection.dataset import read_dataset
from latency_jax.collection.dataset_file import DatasetWriter
from latency_jax.collection.schedule import rounds
from latency_jax.config import CollectConfig
from latency_jax.fitting.page import write_page
from latency_jax.fitting.report import results
from latency_jax.fitting.study import FitConfig, run_trials
from latency_jax.modules import get_kind
from latency_jax.selection import Goal
from packd_jax.config import to_json_dict

NASTY = "<script>alert('1')</script> $x_$ 数 & \"q\""
ENVIRONMENT = {"id": "0123456789ab", "cpu_model": "some & other", "threads": 3, "backend": "cpu"}
FITTED_ON = {"cpu_model": "third", "cpu_cores": 5, "versions": {"python": "3.12", "jax": None}}
COLLECTED = CollectConfig(kinds=("dense", "max_pool"), configurations=120)
CONFIG = FitConfig(("linear", "roofline", "knn"), split_seed=5, seeds=2, goal=Goal("space", 0.02))


def measured(pairs):
    """Rows as a collection writes them, with that many second measurements eleven minutes later."""
    rng = np.random.default_rng(0)
    jobs = [job for jobs in rounds(COLLECTED) for job in jobs]
    for i, job in enumerate([*jobs, *(job._replace(repeat=1) for job in jobs[:pairs])]):
        cost = get_kind(job.config.kind).cost(job.config.values)
        seconds = (1e-5 + 1e-10 * (cost.flops + cost.bytes)) * np.exp(0.06 * rng.normal())
        yield {
            "number": job.number,
            "repeat": job.repeat,
            "config": job.config.to_json(),
            "spent_s": i + 1.0,
            "latency_s": seconds,
            "load": [0.0, 0.0],
            "start_s": [1e9 + i + 660 * job.repeat],
            "sentinel_s": [1e-3 * (1 + 0.001 * (i % 50))],
        }


def collect(directory, pairs):
    with DatasetWriter(directory, ENVIRONMENT, to_json_dict(COLLECTED)) as writer:
        for row in measured(pairs):
            writer.append(row)
    return read_dataset(directory)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data"), 40)


@pytest.fixture(scope="module")
def trials(dataset):
    return run_trials(dataset.tables, CONFIG)


@pytest.fixture(scope="module")
def found(trials):
    origin = {"data": "runs/data", "command": "python -m some --flag", "fitted_on": FITTED_ON}
    return {**origin, **results(trials, CONFIG)}


def text_of(directory, *what):
    write_page(directory / "report.html", *what)
    assert [file.name for file in directory.iterdir()] == ["report.html"]  # nothing half written
    return (directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(found, trials, dataset, tmp_path_factory):
    return text_of(tmp_path_factory.mktemp("page"), found, trials[0], dataset)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def of_a_file(found, trials, tmp_path_factory):
    changed = json.loads(json.dumps({**found, "data": NASTY, "command": NASTY}))
    for row in changed["rows"]:
        row["r2"] = float("nan") if row["regressor"] == "knn" else row["r2"]
    return text_of(tmp_path_factory.mktemp("file"), changed, trials[0], None)


def percent(value):
    return f"{value:.1%}"


def test_what_was_fitted_on_what(page):
    assert "Latency study: runs/data" in page.text
    assert "240 of 2 module kinds; in each split 144 to train, 48 to select" in page.text
    assert "python -m some --flag" in page.text
    assert "Split seeds5, 6" in page.text.replace("\n", "")
    assert "some & other, 3 cores; – (cpu)" in page.text  # where it was measured
    assert "environment 0123456789ab" in page.text
    assert "third, 5 cores" in page.text and "python 3.12, jax –" in page.text
    assert "4.7 minutes, 60 measurements a minute; 0 configurations" in page.text


def test_every_set_has_its_scores_and_costs(page, found):
    for name in ("time", "space", "weighted", "best_single", "linear", "knn"):
        rows = [row for row in found["selection"] if row["set"] == name]
        cells = page.row(name)
        assert len(rows) == 2
        for cell, score in zip(cells[1:4], ("accuracy", "within_10", "mape")):
            assert cell == percent(np.mean([row["macro"][score] for row in rows]))
        r2 = np.mean([row["macro"]["r2"] for row in rows])
        assert cells[4] == f"{r2:.3f}".replace("-", "−")
        assert cells[6] == percent(np.mean([row["weighted"]["accuracy"] for row in rows]))
        covered = [kind["coverage"] for row in rows for kind in row["kinds"].values()]
        assert cells[8] == percent(np.mean(covered))
        assert cells[11] == f"{np.mean([row['size_bytes'] for row in rows]) / 1000:,.1f}"
    assert [row[0] for row in page.marked] == ["space"]


def test_repeatability_stands_beside_every_accuracy(page, dataset):
    first, second = dataset.pairs_s.T
    error = np.abs(second - first) / first
    scores = [percent(x) for x in (1 - error.mean(), (error <= 0.1).mean(), error.mean())]
    again = [row for row in page.rows if row[0] == "measured again"]
    assert [row[1:4] for row in again[:1]] == [scores]  # of sets
    assert [row[1:5] for row in again[1:]] == [["–", *scores]] * 2  # of kinds, of regressors
    note = f"Repeatability: {dataset.repeatability:.1%} of 40 pairs"
    assert scores[1] == percent(dataset.repeatability) and page.text.count(note) == 5
    assert "measurements, 15.0 minutes apart or more" in page.text


def test_gains_are_those_of_the_selected_mode(page, found):
    gain = next(
        g
        for g in found["gains"]
        if (g["mode"], g["over"], g["average"], g["score"])
        == ("space", "best_single", "weighted", "accuracy")
    )
    expected = f"{gain['points']:+.2f} ± {gain['half_width']:.2f} ({gain['relative']:+.2f} %)"
    assert page.row("best_single", "weighted")[2] == expected.replace("-", "−")


def test_every_kind_and_regressor_has_its_scores(page, found, trials):
    chosen = next(r for r in found["selection"] if (r["set"], r["split_seed"]) == ("space", 5))
    for kind, of in chosen["kinds"].items():
        cells = page.row(kind, of["regressor"])
        assert cells[2:5] == [percent(of[s]) for s in ("accuracy", "within_10", "mape")]
        assert cells[7] == percent(of["coverage"])
        assert cells[8] == f"{of['interval_factor']:.2f}" and cells[10:] == ["72", "24", "24"]
    for kind in COLLECTED.kinds:
        rows = {
            name: [r for r in found["rows"] if (r["kind"], r["regressor"]) == (kind, name)]
            for name in CONFIG.regressors
        }
        shares = [percent(np.mean([r["within_10"] for r in of])) for of in rows.values()]
        assert page.row(kind, *shares) == [kind, *shares]
        for name in CONFIG.regressors:
            whole = [row for row in page.rows if row[:2] == [kind, name]][-1]
            assert whole[2] == percent(np.mean([r["accuracy"] for r in rows[name]]))
            assert whole[7] == percent(np.mean([r["validation"]["accuracy"] for r in rows[name]]))


def test_coverage_is_counted_within_the_band(page, found):
    shares = {}
    for row in found["selection"]:
        for kind, of in row["kinds"].items() if row["set"] == "space" else ():
            shares.setdefault(kind, []).append(of["coverage"])
    inside = sum(0.85 <= np.mean(of_kind) <= 0.95 for of_kind in shares.values())
    assert f"between 85 and 95 % of the test rows of {inside} of 2 kinds" in page.text


def test_drift_is_that_of_the_dataset(page, dataset):
    assert f"sentinel's 280 times are at most {dataset.drift:.1%} over" in page.text


def test_page_needs_nothing_else_and_repeats_no_id(text, page):
    assert not re.search(r"@import|url\((?!#)", text)
    tags = {tag for tag, _, _ in page.attributes} | set(re.findall(r"<([a-z]+)", text))
    assert not tags & {"script", "link", "img", "iframe", "object", "image"}
    references = [v for _, name, v in page.attributes if name in ("href", "src", "xlink:href")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert references and len(ids) == len(set(ids))
    assert {value.removeprefix("#") for value in references} <= set(ids)
    figures = [v for tag, name, v in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(figures) == len(set(figures)) == text.count("<svg") == 8
    for panel in ("all kinds", *COLLECTED.kinds):
        assert text.count(f">{panel}</text>") == 2 + (panel != "all kinds")  # and in coverage


def test_equal_inputs_give_equal_bytes(text, found, trials, dataset, tmp_path):
    stored = json.loads(json.dumps(found))
    assert text_of(tmp_path, stored, trials[0], dataset) == text


def test_a_file_has_no_second_measurements_and_no_sentinel(of_a_file, page):
    with_all, page = page, Page(of_a_file)
    assert of_a_file.count("<svg") == 5
    assert "holds neither second measurements of a configuration nor those of a sentinel" in (
        page.text
    )
    assert "Measured onunknown: a CSV file does not say" in page.text.replace("\n", "")
    assert page.text.count("How well these measurements repeat is unknown, as a CSV file") == 4
    assert "measured again" not in page.text and "Measured in" not in page.text
    assert page.row("space") == with_all.row("space")


def test_a_dataset_without_pairs(found, trials, tmp_path):
    dataset = collect(tmp_path / "data", 0)
    (tmp_path / "page").mkdir()
    text = text_of(tmp_path / "page", found, trials[0], dataset)
    assert text.count("<svg") == 6 and "nan" not in Page(text).text.lower()
    assert "nothing was measured twice: collect for longer" in text
    assert "no pairs were measured" in text and "measured again" not in text


def test_names_are_escaped_and_missing_scores_are_dashes(of_a_file):
    assert "<script" not in of_a_file
    page = Page(of_a_file)
    assert f"Latency study: {NASTY}" in page.text and f"command:\n{NASTY}" in page.text
    assert [row for row in page.rows if row[:2] == ["dense", "knn"]][-1][5] == "–"


def test_what_is_no_study_is_refused_and_the_old_page_kept(found, trials, tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match=r"keys \['data'\]: expected command, fitted_on, config"):
        write_page(tmp_path / "report.html", {"data": "x"}, trials[0])
    with pytest.raises(ValueError, match=r"split seed 6: expected that of the first.* 5"):
        write_page(tmp_path / "report.html", found, trials[1])
    assert (tmp_path / "report.html").read_text() == "old"
