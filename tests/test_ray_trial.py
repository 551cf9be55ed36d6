"""Trials without Ray: rows that are left once, evaluations that are told, stops that are real."""

import dataclasses
import json

import pytest
from small_study import ENTRY, TRAIN, study, trace

from packd_jax.ray_trial import evaluation_count, run_trial
from packd_jax.run_log import RunLog
from packd_jax.sweep import apply_point, identity, run_sweep
from packd_jax.sweep_table import read_rows, trial_rows
from packd_jax.traces.mldpc import write_trace

RATE = "entries.tokens.student_train.learning_rate"
POINT = {RATE: 0.05}
STEPS = dataclasses.replace(TRAIN, steps=260, evaluations=4)  # 65 steps: more than a chunk


@pytest.fixture
def config(tmp_path):
    write_trace(tmp_path / "some.txt", trace())
    place = dataclasses.replace(study().trace, paths=(str(tmp_path / "some.txt"),))
    entries = {"tokens": dataclasses.replace(ENTRY, student_train=STEPS)}
    return study(arms=("marginal", "no_kd"), trace=place, entries=entries)


class Reports(list):
    """What a trial reports; a scheduler that stops it after `patience` of them."""

    def __init__(self, patience=99):
        super().__init__()
        self.patience = patience

    def __call__(self, *report):
        self.append(report)
        if len(self) == self.patience:
            raise SystemExit(0)


def test_a_trial_leaves_the_rows_of_the_local_engine(config, tmp_path):
    reports = Reports()
    run_trial(config, POINT, tmp_path / "a", reports, watch=False)
    one = identity(apply_point(config, POINT))
    rows = read_rows(trial_rows(tmp_path / "a", one))
    with RunLog(tmp_path / "b") as log:
        expected = run_sweep(config, [POINT], tmp_path / "b", log)
    for row in (*rows, *expected):
        row.pop("train_seconds", None)
    assert rows == expected and len(rows) == 4
    trained = [row["validation_f1"] for row in rows if row["arm"] == "no_kd"]
    assert reports == [(4, pytest.approx(sum(trained) / 2), True)]
    run_trial(config, POINT, tmp_path / "a", reports, watch=False)  # there already
    assert reports[1] == reports[0]
    assert (tmp_path / "a/trials" / one / "metrics.jsonl").read_text().count("runs on") == 1


def test_every_evaluation_but_the_last_is_told_on_the_way(config, tmp_path):
    reports = Reports()
    run_trial(config, POINT, tmp_path, reports, watch=True)
    assert [(done, end) for done, _, end in reports] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
    ]
    scores = [score for _, score, _ in reports]
    assert scores == sorted(scores) and scores[0] > 0  # each run's best so far


def test_a_stopped_trial_leaves_no_rows_and_goes_on_where_it_stopped(config, tmp_path):
    with pytest.raises(SystemExit):
        run_trial(config, POINT, tmp_path, Reports(2), watch=True)
    one = identity(apply_point(config, POINT))
    assert not trial_rows(tmp_path, one).exists()
    reports = Reports()
    run_trial(config, POINT, tmp_path, reports, watch=True)
    assert reports[0][0] >= 2 and reports[-1][2]
    whole = Reports()
    run_trial(config, POINT, tmp_path / "whole", whole, watch=False)
    assert reports[-1] == whole[0]  # the same bits
    rows, expected = (
        json.loads(trial_rows(place, one).read_text().splitlines()[-1])
        for place in (tmp_path, tmp_path / "whole")
    )
    assert rows["f1"] == expected["f1"] and rows["threshold"] == expected["threshold"]


def test_evaluations_of_a_point(config):
    assert evaluation_count(config) == 4
