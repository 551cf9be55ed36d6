import dataclasses
import json

import numpy as np
import pytest
import small_student
import small_study

from packd_jax.config import ConfigError, to_json_dict
from packd_jax.quantize.training_rows import study_rows
from packd_jax.splits import encode_splits, load_sources
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.mldpc import write_trace

STUDENT = small_student.float_student()


@pytest.fixture
def study(tmp_path):
    """A workdir as a study leaves it: (checkpoint directory, its meta, the trace's path)."""
    path = tmp_path / "trace.txt"
    write_trace(path, small_study.trace())
    config = to_json_dict(small_study.study())
    (tmp_path / "config.json").write_text(json.dumps(config))
    directory = tmp_path / "checkpoints" / "tokens" / "no_kd" / "seed_0"
    directory.mkdir(parents=True)
    source = load_sources(dataclasses.replace(small_study.WINDOWS, paths=(str(path),)), tmp_path)
    origin = {"paths": [str(path)], "sha256": [source[0].sha256]}
    return directory, {"provenance": {"trace": origin}}, path


def rows_of(directory, meta, paths=()):
    return study_rows(directory, meta, STUDENT.features, STUDENT.pc_vocabulary, paths)


def splits_of(path, windows):
    config = dataclasses.replace(windows, paths=(str(path),))
    sources = load_sources(config, path.parent)
    return encode_splits(sources, config, STUDENT.features, STUDENT.pc_vocabulary)


def assert_equal(found, splits):
    for name in ("train", "validation", "test"):
        ours, split = getattr(found.splits, name).examples, getattr(splits, name)
        np.testing.assert_array_equal(ours.trace_row, split.examples.trace_row)
        np.testing.assert_array_equal(ours.labels, split.examples.labels)
        for name, values in split.examples.inputs.items():
            np.testing.assert_array_equal(ours.inputs[name], values)


def test_rows_are_those_of_the_study(study):
    directory, meta, path = study
    assert_equal(rows_of(directory, meta), splits_of(path, small_study.WINDOWS))


def test_windows_in_the_checkpoint_go_first(study):
    directory, meta, path = study
    other = dataclasses.replace(small_study.WINDOWS, train=(0, 30))
    meta["config"] = {"trace": to_json_dict(other)}
    assert_equal(rows_of(directory, meta), splits_of(path, other))


def test_a_trace_that_moved_is_read_where_it_is_said_to_be(study):
    directory, meta, path = study
    moved = path.rename(path.with_name("moved.txt"))
    assert rows_of(directory, meta) is None
    assert_equal(rows_of(directory, meta, [str(moved)]), splits_of(moved, small_study.WINDOWS))


def test_a_trace_that_changed_is_not_used_unasked(study):
    directory, meta, path = study
    write_trace(path, small_study.trace(seed=1))
    assert rows_of(directory, meta) is None
    assert rows_of(directory, meta, [str(path)]) is not None


def test_a_checkpoint_alone_needs_a_trace_and_takes_the_first_of_it(study):
    directory, meta, path = study
    (directory.parents[3] / "config.json").unlink()
    assert rows_of(directory, meta) is None and rows_of(directory, {}) is None
    splits = rows_of(directory, meta, [str(path)]).splits
    train, validation = splits.train.examples, splits.validation.examples
    assert train.trace_row.max() < 350 <= validation.trace_row.min()
    assert validation.trace_row.max() < 425


def test_bad_traces_are_told(study):
    directory, meta, path = study
    with pytest.raises(TraceError, match=r"absent.txt"):
        rows_of(directory, meta, [str(path.with_name("absent.txt"))])
    write_trace(path, small_study.trace(rows=20))
    with pytest.raises(ConfigError, match="expected more than look_back"):
        rows_of(directory, meta, [str(path)])
