"""What is told of trials, and that the rows of one that ends are in the table at once."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="Ray is an extra: pip install 'packd-jax[ray]'")

from packd_jax.ray_narrator import Narrator, last_line
from packd_jax.run_log import RunLog
from packd_jax.sweep_table import read_rows, write_trial


def trial(**changes):
    point = json.dumps({"entries.tokens.student.width": 4, "seeds": [0, 1]})
    values = {"config": {"point": point}, "status": "RUNNING", "error_file": None}
    return SimpleNamespace(**{**values, "last_result": {}, **changes})


def test_the_story_of_a_trial(tmp_path, capsys):
    (tmp_path / "error.txt").write_text("Traceback ...\n  at some place\nError: the node is gone\n")
    failed = trial(error_file=str(tmp_path / "error.txt"))
    ended = trial(last_result={"finished": True, "validation_f1": 0.5, "node": "ab"})
    early = {"finished": False, "evaluation": 2, "validation_f1": 0.25, "node": "cd"}
    stopped, kept = trial(last_result=early), []
    others = [trial(status="TERMINATED"), ended, trial()]
    write_trial(tmp_path, "one", [{"config": "one"}])
    with RunLog(tmp_path) as log:
        narrator = Narrator(log, tmp_path, 2, kept.append)
        narrator.on_trial_start(1, others, failed)
        narrator.on_trial_recover(2, others, failed)
        assert read_rows(tmp_path / "sweep.jsonl") == []
        narrator.on_trial_complete(3, others, ended)
        assert read_rows(tmp_path / "sweep.jsonl") == [{"config": "one"}]
        narrator.on_trial_complete(4, [stopped], stopped)
        narrator.on_trial_error(5, others, failed)
    assert kept == [stopped]
    said = [line.removeprefix("trial width=4, seeds=[0, 1]: ") for line in told(capsys)]
    assert said == [
        "starts",
        "is tried again, as it failed: Error: the node is gone",
        "ends on node ab, validation F1 0.5000; 2 of 3",
        "stopped at evaluation 2 on node cd, validation F1 0.2500; 1 of 2",
        "failed for good: Error: the node is gone",
    ]
    assert last_line(trial()) == "no error is known"


def told(capsys):
    return capsys.readouterr().err.splitlines()
