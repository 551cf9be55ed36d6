import io
import json
import zipfile

import numpy as np
import pytest
import small_student

from packd_jax.checkpoints import CheckpointError
from packd_jax.quantize import load_integer_student, quantize_student, save_integer_student

META = {"kind": "student", "metrics": {"f1": 0.5, "none": None}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    student, _ = quantize_student(small_student.float_student(2), weight_bits=4)
    path = tmp_path_factory.mktemp("integers") / "student.npz"
    save_integer_student(path, student, META)
    return student, path


def test_a_student_comes_back_bit_for_bit(saved):
    student, path = saved
    found, meta = load_integer_student(path)
    assert meta == META
    assert found.digest == student.digest and found.describe() == student.describe()
    assert found.features == student.features
    for name, array in student.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array, strict=True)
    assert [p.name for p in path.parent.iterdir()] == ["student.npz"]


def test_damaged_files_are_refused_or_read_right(saved, tmp_path):
    student, path = saved
    data, rng = path.read_bytes(), np.random.default_rng(0)
    damaged, refused = tmp_path / "damaged.npz", 0
    for trial in range(300):
        changed = bytearray(data)
        if trial % 3 == 0:
            changed = changed[: rng.integers(0, len(data))]
        else:
            for place in rng.integers(0, len(data), 1 + trial % 3):
                changed[place] ^= 1 << rng.integers(0, 8)
        damaged.write_bytes(changed)
        try:
            found, _ = load_integer_student(damaged)
        except CheckpointError as error:
            assert str(error).startswith(f"{damaged}: damaged") and "\n" not in str(error)
            refused += 1
        else:  # zip has bytes that mean nothing, such as dates
            assert found.digest == student.digest
    assert refused > 200


def rewritten(path, change):
    """The file's members after `change(members)`, with fresh checksums of the archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def record_with(members, **changes):
    record = json.loads(np.load(io.BytesIO(members["record.npy"])).tobytes()) | changes
    members["record.npy"] = npy(np.frombuffer(json.dumps(record).encode(), np.uint8))


def other_weight(members):
    kernel = np.load(io.BytesIO(members["kernel_0.npy"]))
    kernel[0, 0] ^= 1
    members["kernel_0.npy"] = npy(kernel)


def giant_array(members):
    header = npy(np.zeros((9, 1), np.int8)).replace(b"(9, 1)", b"(9999999999999, 1)")
    members["kernel_0.npy"] = header


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (other_weight, "its values differ from their digest"),
        (lambda m: m.pop("kernel_0.npy"), "KeyError: 'kernel_0'"),
        (lambda m: m.update({"kernel_0.npy": npy(np.zeros((2, 2), np.int8))}), "ValueError"),
        (giant_array, "damaged, or no quantised student"),
        (lambda m: m.pop("record.npy"), "KeyError: 'record'"),
        (lambda m: record_with(m, format="other"), "format 'other', expected"),
        (lambda m: record_with(m, student=[]), "TypeError"),
    ],
)
def test_forged_files_are_refused(saved, tmp_path, change, problem):
    forged = tmp_path / "forged.npz"
    forged.write_bytes(rewritten(saved[1], change))
    with pytest.raises(CheckpointError, match=problem):
        load_integer_student(forged)


def test_files_that_would_run_code_are_refused(saved, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], object), allow_pickle=True)
    forged = tmp_path / "forged.npz"
    forged.write_bytes(rewritten(saved[1], lambda m: m.update({"kernel_0.npy": buffer.getvalue()})))
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        load_integer_student(forged)


def test_files_that_are_not_there_or_too_large_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist; expected the file of a student"):
        load_integer_student(tmp_path / "absent.npz")
    with pytest.raises(CheckpointError, match="damaged, or no quantised student"):
        load_integer_student(tmp_path)
    with open(tmp_path / "large.npz", "wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(CheckpointError, match="more than 67,108,864 bytes"):
        load_integer_student(tmp_path / "large.npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("record.npy", bytes((1 << 26) + 1))
    with pytest.raises(CheckpointError, match="unpacks to more than 67,108,864 bytes"):
        load_integer_student(tmp_path / "bomb.npz")
