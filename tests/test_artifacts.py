import contextlib
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_jax.artifacts import (
    RECORD,
    ArtifactError,
    from_npz,
    read_artifact,
    to_json,
    to_npz,
    write_artifact,
)

FILES = {"a.json": b'{"x": 1}', "deep/er/b.npz": bytes(range(256)) * 9, "empty": b""}
slow = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)


@pytest.fixture(params=["one.zip", "directory"])
def path(request, tmp_path):
    write_artifact(tmp_path / request.param, "test", 3, FILES)
    return tmp_path / request.param


def test_files_come_back_and_nothing_else_is_left(path):
    assert read_artifact(path, "test", 3) == FILES
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_next_one_replaces_it(path):
    write_artifact(path, "test", 3, {"only": b"this"})
    assert read_artifact(path, "test", 3) == {"only": b"this"}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.is_file() or not (path / "a.json").exists()


def test_equal_contents_are_equal_files(tmp_path):
    for name in ("a.zip", "b.zip"):
        write_artifact(tmp_path / name, "test", 1, FILES)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_another_format_version_or_place(path):
    with pytest.raises(ArtifactError, match="is a 'test': expected a 'other'"):
        read_artifact(path, "other", 3)
    with pytest.raises(ArtifactError, match=r"is version 3 .* reads version 4: write it again"):
        read_artifact(path, "test", 4)
    assert read_artifact(path, "test", 4, oldest=2) == read_artifact(path, "test", 3)
    with pytest.raises(ArtifactError, match="is version 3"):
        read_artifact(path, "test", 2, oldest=1)
    with pytest.raises(ArtifactError, match="no such file"):
        read_artifact(path.with_name("absent"), "test", 3)


def test_foreign_places(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    with pytest.raises(ArtifactError, match="directory of something else"):
        write_artifact(tmp_path / "mine", "test", 1, FILES)
    with pytest.raises(ArtifactError, match=r"is a file; choose another path"):
        write_artifact(tmp_path / "mine" / "thesis.txt", "test", 1, FILES)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not delete"
    with pytest.raises(ArtifactError, match=r"holds no artifact.json: expected a test"):
        read_artifact(tmp_path / "mine", "test", 1)
    with pytest.raises(ArtifactError, match="damaged, or no artifact"):
        read_artifact(tmp_path / "mine" / "thesis.txt", "test", 1)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\b", "", "a//b", "c:x", RECORD])
def test_names_stay_inside(tmp_path, name):
    with pytest.raises(ArtifactError, match="file name"):
        write_artifact(tmp_path / "a", "test", 1, {name: b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["more", "less", "other", "gone", "directory"])
def test_changed_files_of_a_directory(tmp_path, change):
    write_artifact(tmp_path / "d", "test", 1, {"a": b"12345"})
    file = tmp_path / "d" / "a"
    contents = {"more": b"123456", "less": b"1234", "other": b"12346"}
    file.unlink()
    if change in contents:
        file.write_bytes(contents[change])
    elif change == "directory":
        file.mkdir()
    with pytest.raises(ArtifactError, match=r"'a' is (damaged|missing)"):
        read_artifact(tmp_path / "d", "test", 1)


@given(st.data())
@slow
def test_damaged_zip_files_give_their_files_or_a_clear_error(tmp_path, data):
    path = tmp_path / "one.zip"
    write_artifact(path, "test", 3, FILES)
    path.write_bytes(mutated(path.read_bytes(), data))
    try:
        assert read_artifact(path, "test", 3) == FILES  # bytes that mean nothing, like a date
    except ArtifactError as error:
        assert str(path) in str(error)


@given(st.data())
@slow
def test_damaged_records_never_pass(tmp_path, data):
    path = tmp_path / "directory"
    write_artifact(path, "test", 3, FILES)
    text = (path / RECORD).read_bytes()
    changed = mutated(text, data)
    (path / RECORD).write_bytes(changed)
    try:
        read_artifact(path, "test", 3)
        assert json.loads(changed) == json.loads(text)
    except ArtifactError as error:
        assert str(path) in str(error)


def mutated(content, data):
    content = bytearray(content)
    how = data.draw(st.sampled_from(["bytes", "cut", "insert"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if how == "cut":
        return bytes(content[:place])
    if how == "insert":
        return bytes(
            content[:place] + data.draw(st.binary(min_size=1, max_size=9)) + content[place:]
        )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    return bytes(content)


def test_a_forged_length_is_not_believed(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RECORD, b" " * (1 << 25))
    with pytest.raises(ArtifactError, match=RECORD):
        read_artifact(tmp_path / "bomb.zip", "test", 1)


def test_arrays_round_trip_and_objects_are_refused():
    arrays = {"f": np.arange(3, dtype=np.float32), "t": np.array(["a", "bc"]), "s": np.array(2.5)}
    back = from_npz(to_npz(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    with pytest.raises(TypeError, match="'o' holds object"):
        to_npz({"o": np.array([{}], object)})
    pickled = io.BytesIO()
    np.savez(pickled, o=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        from_npz(pickled.getvalue())


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_damaged_arrays_are_a_value_error(data):
    content = to_npz({"x": np.arange(50.0)})
    with contextlib.suppress(ValueError):  # anything else fails the test
        from_npz(mutated(content, data))


def test_json_floats_come_back_bit_for_bit():
    value = {"b": [0.1, 1e-300, 2.0**0.5], "a": None}
    assert json.loads(to_json(value)) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))
