import json

import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax.checkpoints import CheckpointError, save_checkpoint
from packd_jax.inspection import (
    compare_checkpoints,
    format_comparison,
    format_inspection,
    inspect_checkpoint,
)

META = {
    "kind": "student",
    "config": {"student": {"width": 4, "family": "lstm"}, "arms": ["kd"]},
    "metrics": {"f1": 0.5},
    "clusters": {"feature": "d", "sizes": [3, 1], "centers": [[0.5], [2.0]]},
    "provenance": {"trace": {"paths": ["a.txt.xz"], "sha256": "c0ffee"}},
    "threshold": 0.25,
}


@pytest.fixture
def student(tmp_path):
    kernel = np.array([[1, 2], [3, 6]], jnp.bfloat16)
    tree = {"params": {"kernel": kernel, "bias": np.array([3.0, 4.0])}, "step": np.int32(7)}
    save_checkpoint(tmp_path / "student", tree, META)
    return tmp_path / "student"


def test_report_has_meta_and_statistics_of_every_leaf(student):
    report = inspect_checkpoint(student)
    for key in ("kind", "config", "metrics", "clusters", "provenance"):
        assert report[key] == META[key]
    assert report["other"] == {"threshold": 0.25}
    bias, kernel, step = report["leaves"]
    assert kernel == {
        "path": "params/kernel",
        "shape": [2, 2],
        "dtype": "bfloat16",
        "size": 4,
        "size_bytes": 8,
        "min": 1.0,
        "mean": 3.0,
        "max": 6.0,
        "std": pytest.approx(np.sqrt(3.5)),
    }
    assert (bias["path"], bias["mean"], bias["std"]) == ("params/bias", 3.5, 0.5)
    assert (step["path"], step["shape"], step["max"]) == ("step", [], 7.0)
    assert (report["size"], report["size_bytes"]) == (7, 28)
    assert json.loads(json.dumps(report)) == report


def test_text_shows_the_same(student):
    lines = [
        " ".join(line.split())
        for line in format_inspection(inspect_checkpoint(student)).splitlines()
    ]
    assert lines[0] == f"{student}: student"
    for line in (
        "student.width 4",
        "arms [kd]",
        "f1 0.5",
        "sizes [3, 1]",
        "centers [[0.5], [2]]",
        "trace.sha256 c0ffee",
        "threshold 0.25",
        "params/kernel 2x2 bfloat16 4 8 1 3 6 1.87083",
        "step scalar int32 1 4 7 7 7 0",
        "total 7 28",
    ):
        assert line in lines


def test_a_checkpoint_without_meta_and_with_an_empty_leaf_is_shown(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": np.zeros((0, 2)), "b": np.array([True, False])}, {})
    report = inspect_checkpoint(tmp_path / "c")
    assert report["kind"] is None and report["metrics"] is None
    empty, flags = report["leaves"]
    assert empty["mean"] is None and flags["mean"] == 0.5
    text = format_inspection(report)
    assert "checkpoint of unnamed kind" in text and "metrics" not in text


def test_comparison_names_every_difference(student, tmp_path):
    tree = {
        "params": {"kernel": np.zeros((2, 3), jnp.bfloat16), "bias": np.array([3.0, 9.0])},
        "scale": np.ones(1),
    }
    meta = {"config": {"student": {"width": 8, "family": "lstm"}}, "metrics": {"f1": 0.75, "ap": 1}}
    save_checkpoint(tmp_path / "other", tree, meta)
    report = compare_checkpoints(student, tmp_path / "other")
    assert report == {
        "directories": [str(student), str(tmp_path / "other")],
        "config": {"student.width": [4, 8], "arms": [["kd"], None]},
        "metrics": {"f1": [0.5, 0.75], "ap": [None, 1]},
        "only_in_first": ["step"],
        "only_in_second": ["scale"],
        "type_differences": {"params/kernel": ["bfloat16[2, 2]", "bfloat16[2, 3]"]},
        "leaf_differences": {"params/bias": {"max_abs": 5.0, "relative_l2": 1.0}},
    }
    lines = [" ".join(line.split()) for line in format_comparison(report).splitlines()]
    for line in (
        "student.width 4 8 +4",
        "f1 0.5 0.75 +0.25",
        "ap - 1",
        "params/kernel bfloat16[2, 2] bfloat16[2, 3]",
        "params/bias 5 1",
    ):
        assert line in lines
    assert lines[lines.index("leaves only in first:") + 1] == "step"
    assert lines[lines.index("leaves only in second:") + 1] == "scale"


def test_a_checkpoint_equals_itself(student):
    report = compare_checkpoints(student, student)
    assert not report["config"] and not report["metrics"] and not report["type_differences"]
    assert set(report["leaf_differences"]) == {"params/kernel", "params/bias", "step"}
    for difference in report["leaf_differences"].values():
        assert difference == {"max_abs": 0.0, "relative_l2": 0.0}


def test_distance_from_zero_has_no_relative_size(tmp_path):
    save_checkpoint(tmp_path / "zero", {"a": np.zeros(2, np.uint8)}, {})
    save_checkpoint(tmp_path / "one", {"a": np.array([0.0, -2.0])}, {})
    report = compare_checkpoints(tmp_path / "zero", tmp_path / "one")
    assert report["leaf_differences"] == {"a": {"max_abs": 2.0, "relative_l2": None}}
    assert report["type_differences"] == {"a": ["uint8[2]", "float64[2]"]}


def test_what_is_no_checkpoint_is_refused(student, tmp_path):
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        inspect_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        compare_checkpoints(student, tmp_path / "absent")


def test_values_that_are_not_finite_are_shown(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": np.array([np.inf, 1.0])}, {"metrics": {"f1": np.nan}})
    (leaf,) = inspect_checkpoint(tmp_path / "c")["leaves"]
    assert leaf["max"] == np.inf and np.isnan(leaf["std"])
    difference = compare_checkpoints(tmp_path / "c", tmp_path / "c")["leaf_differences"]["a"]
    assert np.isnan(difference["max_abs"])
