"""The table of a sweep: torn lines, stopped points, and rows of trials that come in once."""

import json

import pytest

from packd_jax import sweep_table

DONE = {"config": "a", "arm": "kd", "validation_f1": 0.5}
STOPPED = {"config": "a", "arm": None, "validation_f1": 0.2, "stopped": {"evaluation": 1, "of": 4}}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_torn_line_is_cut_off_the_table(tmp_path):
    table = tmp_path / "sweep.jsonl"
    assert sweep_table.read_rows(table) == []
    for text, rows in (
        ("", []),
        ('{"a"', []),
        ('{"a": 1}\n', [{"a": 1}]),
        ('{"a": 1}\n{"a": 2}\n{"a', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n{"a": 2}', [{"a": 1}]),  # whole, but for the end of its line
    ):
        table.write_text(text)
        assert sweep_table.read_rows(table) == rows
        assert table.read_text() == lines(rows)


def test_rows_are_added_behind_those_there(tmp_path):
    table = tmp_path / "sweep.jsonl"
    sweep_table.append_rows(table, [{"a": 1}, {"a": 2}])
    sweep_table.append_rows(table, iter([{"a": 3}]))
    assert table.read_text() == lines([{"a": 1}, {"a": 2}, {"a": 3}])


def test_a_point_that_was_stopped_and_then_finished_is_finished():
    other = STOPPED | {"config": "b"}
    assert sweep_table.finished([STOPPED, other, DONE]) == [DONE]
    assert sweep_table.settled([STOPPED, other, DONE]) == [other, DONE]
    assert sweep_table.settled([]) == sweep_table.finished([]) == []


def test_a_search_sees_what_was_trained():
    rows = [DONE, DONE | {"validation_f1": 0.7}, DONE | {"arm": "marginal", "validation_f1": 0.9}]
    assert sweep_table.validation_score(rows) == pytest.approx(0.6)
    assert sweep_table.validation_score(rows[2:]) == 0.0


def test_rows_of_trials_come_into_the_table_once(tmp_path):
    table = tmp_path / "sweep.jsonl"
    assert sweep_table.collect(tmp_path) == [] and not table.exists()
    rows = [DONE | {"seed": seed} for seed in (0, 1)]
    sweep_table.append_rows(table, [STOPPED])
    sweep_table.write_trial(tmp_path, "b", [DONE | {"config": "b"}])
    sweep_table.write_trial(tmp_path, "a", rows)
    expected = [STOPPED, *rows, DONE | {"config": "b"}]
    for _ in range(2):
        assert sweep_table.collect(tmp_path) == expected
        assert table.read_text() == lines(expected)
    sweep_table.write_trial(tmp_path, "a", rows)  # the trial was run again
    assert sweep_table.collect(tmp_path) == expected
    names = {path.name for path in (tmp_path / "trials").glob("*/*")}
    assert names == {"rows.jsonl"} == {sweep_table.trial_rows(tmp_path, "a").name}
