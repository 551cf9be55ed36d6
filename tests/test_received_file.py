import pytest

from latency_jax.collection.dataset_file import FILE, DatasetError, DatasetWriter, read_lines
from latency_jax.collection.received_file import ReceivedFile
from latency_jax.parameters import ModuleConfig

ROW = {
    "number": 0,
    "repeat": 0,
    "config": ModuleConfig("add", {"features": 8}, {"batch_size": 1}).to_json(),
    "spent_s": 1.0,
    "error": "none",
}


def measured(directory, rows):
    with DatasetWriter(directory, {"id": "there"}, {"seed": 1}) as writer:
        for _ in range(rows - len(writer.rows)):
            writer.append(ROW)
    return (directory / FILE).read_bytes()


def test_lines_come_over_and_go_back(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    first = measured(there, 2)
    with ReceivedFile(here) as file:
        assert file.data == b""
        file.append(first)
    with ReceivedFile(here) as file:
        assert file.data == first
        file.append(measured(there, 5)[len(first) :])
    assert (here / FILE).read_bytes() == (there / FILE).read_bytes()
    assert len(read_lines(here / FILE).rows) == 5


@pytest.mark.parametrize("kept", [0.1, 0.9])  # of the header, of the last row
def test_what_a_kill_tore_off_is_dropped(tmp_path, kept):
    data = measured(tmp_path, 1)
    (tmp_path / FILE).write_bytes(data[: round(kept * len(data))])
    with ReceivedFile(tmp_path) as file:
        assert file.data == (data[: data.index(b"\n") + 1] if kept > 0.5 else b"")
        assert (tmp_path / FILE).read_bytes() == file.data


def test_damage_and_foreign_files_are_told_and_left_as_they_are(tmp_path):
    damaged = measured(tmp_path, 2).replace(b'"none"', b'"some"', 1)
    for data, told in ((damaged, "line 2: its checksum differs"), (b"else", "starts no dataset")):
        (tmp_path / FILE).write_bytes(data)
        with pytest.raises(DatasetError, match=told):
            ReceivedFile(tmp_path)
        assert (tmp_path / FILE).read_bytes() == data


def test_only_one_receives(tmp_path):
    with ReceivedFile(tmp_path), pytest.raises(DatasetError, match="another process is collecting"):
        ReceivedFile(tmp_path)
