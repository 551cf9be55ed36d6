import jax
import numpy as np
import pytest
import small_student
import small_study

from packd_jax.checkpoints import CheckpointError, save_checkpoint
from packd_jax.config import ConfigError, EntryConfig, to_json_dict
from packd_jax.export import find_compiler, verification
from packd_jax.quantize import load_student, quantize_checkpoint, quantize_student
from packd_jax.traces.mldpc import write_trace


def meta_of(student, **changes):
    entry = EntryConfig(features=student.features, student=student.model)
    return {
        "kind": "student",
        "config": {"entry": to_json_dict(entry)},
        "metrics": {"threshold": 0.25},
        "pc_vocabulary": student.pc_vocabulary.tolist(),
        **changes,
    }


def test_a_student_is_read_as_a_study_leaves_it(tmp_path):
    student = small_student.float_student(clusters=2)
    meta = meta_of(student, clusters={"centers": [[0.0], [1.0]]})
    save_checkpoint(tmp_path / "s", {"params": student.params, "batch_stats": {}}, meta)
    found, meta_found = load_student(tmp_path / "s")
    assert found.threshold == pytest.approx(-np.log(3)) and meta_found == meta
    assert (found.model, found.features, found.clusters) == (student.model, student.features, 2)
    jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(student.params))
    np.testing.assert_array_equal(found.pc_vocabulary, student.pc_vocabulary)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "teacher"}, "holds 'teacher'; expected a student"),
        ({"metrics": {}}, "its meta describes no student"),
        ({"metrics": {"threshold": 1.0}}, "threshold 1.0: expected a probability"),
        ({"pc_vocabulary": [-1]}, "its meta describes no student"),
        ({"config": {"entry": {"student": {"widht": 3}}}}, "did you mean .*width"),
        (
            {"config": {"entry": {"student": {"width": 5}}}},
            "params/",
        ),
    ],
)
def test_what_is_no_student_is_refused(tmp_path, change, problem):
    student = small_student.float_student()
    save_checkpoint(tmp_path / "s", {"params": student.params}, meta_of(student, **change))
    with pytest.raises(CheckpointError, match=problem):
        load_student(tmp_path / "s")


@pytest.fixture
def checkpoint(tmp_path):
    student = small_student.float_student()
    meta = meta_of(student)
    meta["config"]["trace"] = to_json_dict(small_study.WINDOWS)
    save_checkpoint(tmp_path / "s", {"params": student.params}, meta)
    write_trace(tmp_path / "trace.txt", small_study.trace())
    return tmp_path / "s", str(tmp_path / "trace.txt")


def test_a_checkpoint_is_quantised_with_the_rows_of_its_study(checkpoint):
    directory, trace = checkpoint
    found = quantize_checkpoint(directory, 8, [trace])
    train, validation = (getattr(found.rows.splits, n).examples for n in ("train", "validation"))
    expected, how = quantize_student(found.floats, train, validation)
    assert found.integers.digest == expected.digest and found.how == how
    assert len(found.rows.sources) == 1 and found.meta["kind"] == "student"


def test_a_checkpoint_without_its_traces_is_quantised_for_the_worst_case(checkpoint):
    found = quantize_checkpoint(checkpoint[0], 4)
    assert found.rows is None
    assert found.integers.digest == quantize_student(found.floats, weight_bits=4)[0].digest
    message = "no C compiler" if find_compiler() is None else "name them by --trace=FILE"
    with pytest.raises(ConfigError, match=message):
        verification(found)


def test_a_student_that_reads_its_cluster_is_refused(tmp_path):
    student = small_student.float_student(clusters=2)
    meta = meta_of(student, clusters={"centers": [[0.0], [1.0]]})
    save_checkpoint(tmp_path / "s", {"params": student.params}, meta)
    with pytest.raises(ConfigError, match="expected one without, like that of the arm no_kd"):
        quantize_checkpoint(tmp_path / "s")
