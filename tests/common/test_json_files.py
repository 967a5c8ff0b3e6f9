"""JSON files come back unchanged, and people can read them."""

from efficientnet.common.json_files import read_object, write_json


def test_a_file_comes_back_unchanged_and_is_readable(tmp_path):
    value = {"class": "Gänseblümchen", "path": "bad\udcff name", "control": "\x1b[2J"}
    write_json(tmp_path / "file.json", value)
    assert read_object(tmp_path / "file.json") == value
    text = (tmp_path / "file.json").read_bytes().decode("utf-8")
    assert "Gänseblümchen" in text and "\x1b" not in text
