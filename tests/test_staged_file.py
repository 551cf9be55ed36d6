import pytest

from packd_jax.staged_file import staged, write_text


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "plot.svg"
    write_text(path, "old")
    with pytest.raises(RuntimeError), staged(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old" and temporary.suffix == ".svg"
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["plot.svg"] and path.read_text() == "old"
    with staged(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["plot.svg"] and path.read_text() == "new"


def test_text_is_utf8_and_what_is_no_character_an_escape(tmp_path):
    write_text(tmp_path / "a.txt", "×\udc80\n")
    assert (tmp_path / "a.txt").read_bytes() == "×\\udc80\n".encode()
