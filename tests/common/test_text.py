"""What others have named is printed, tabulated and written so that it cannot do anything."""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from efficientnet.cli.main import main, run
from efficientnet.common.text import (
    about,
    csv_cell,
    get_logger,
    json_text,
    lines,
    markdown,
    plain,
    print_what_can_be,
    some,
)
from efficientnet.reports.tables import table

NASTY = "a\x1b[31m\x9b|\n\r\u2028\u202e\u2066\udce9\x00=cmd"


def test_what_terminals_obey_is_escaped():
    escaped = plain(NASTY)
    assert escaped == r"a\x1b[31m\x9b|\n\r\u2028\u202e\u2066\xe9\x00=cmd"
    assert escaped.encode()


@pytest.mark.parametrize(
    "text", ["Crêpe à l'œuf", "東京 タワー", "می‌خواهم", "👨‍👩‍👧 photo", "1:00\u202fPM.png", "50 %"]
)
def test_what_can_be_read_stays(text):
    assert plain(text) == text
    assert markdown(text) == text
    assert csv_cell(text) == text


def test_messages_keep_their_lines():
    assert lines("first\nsecond\x1b[2J") == "first\nsecond\\x1b[2J"


def test_json_comes_back_as_it_was():
    value = {"path": NASTY, "emoji": "👩\u200d🔬", "tag": "\U000e0001"}
    text = json_text(value, indent=1)
    assert json.loads(text) == value
    assert plain(text.replace("\n", "")) == text.replace("\n", "")


def test_a_table_keeps_its_columns():
    header, _, row = table(["class", "images"], [["a|b\n<b>", 3]]).splitlines()
    assert len(header) == len(row)
    assert row == r"| a\|b\n\<b> |      3 |"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_formula_in_csv(text):
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text), csv_cell(-1.5), csv_cell(None)])
    (row,) = csv.reader(io.StringIO(file.getvalue()))
    assert row[0][0] in "'\\"
    assert row[1:] == ["-1.5", ""]


def test_latin_1_terminals_get_what_they_have():
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    print_what_can_be(file)
    print("é – φ 東 \udce9", file=file)
    file.flush()
    assert file.buffer.getvalue() == "é - phi \\u6771 \\xe9\n".encode("latin-1")


@pytest.mark.parametrize(("encoding", "expected"), [("latin-1", "é - phi\n"), ("utf-8", "é – φ\n")])
def test_commands_print_on_every_terminal(encoding, expected, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=lambda arguments: print("é – φ") or 0)
    assert run(parser, []) == 0
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().decode(encoding) == expected


@pytest.mark.parametrize("error", [TypeError("a\x1b[2J"), KeyError("b"), MemoryError(), RecursionError("deep")])
def test_commands_never_end_in_a_traceback(error, capsys):
    def fail(arguments):
        raise error

    parser = argparse.ArgumentParser("efficientnet")
    parser.set_defaults(run=fail)
    assert run(parser, []) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"efficientnet: error: {type(error).__name__}: ")
    assert message.count("\n") == 1
    assert "\x1b" not in message


@pytest.mark.parametrize("stream", ["<", ">"])
def test_closed_streams(stream):
    command = [sys.executable, "-m", "efficientnet", "models", "lite0"]
    shell = ["sh", "-c", f'"$@" {stream}&-', "sh"]
    done = subprocess.run([*shell, *command], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (stream == ">")


def test_the_packages_records_are_safe_to_print(caplog):
    with caplog.at_level("WARNING", logger="efficientnet"):
        get_logger().warning("%s: %s, %d", Path("a\x1b[2J\nb.h5"), ValueError("line\nof \u202e"), 3)
    assert caplog.messages == ["a\\x1b[2J\\nb.h5: line\nof \\u202e, 3"]


def test_a_wrong_command_line_is_repeated_escaped(capsys):
    with pytest.raises(SystemExit):
        main(["models", "b0", "\x1b[2J"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: \\x1b[2J\n")


def test_an_option_like_a_misspelt_one_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "x.jpg", "--modle", "b0"])
    assert capsys.readouterr().err.endswith(
        "predict: error: unrecognized arguments: --modle b0. Did you mean --model?\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout_is_one_line(unbuffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "efficientnet", "models", "b0"], stdout=full, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("efficientnet: error: No space left on device, for stdout or")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), ImportError("a.so: failed to map segment")]
)
def test_limits_of_memory_and_threads_are_named(capsys, error):
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=Mock(side_effect=error))
    assert run(parser, []) == 2
    printed = capsys.readouterr().err
    assert "see `ulimit -a`" in printed
    assert printed.count("\n") == 1


def test_options_that_take_memory_are_named(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.set_defaults(run=Mock(side_effect=MemoryError("Unable to allocate 74.5 GiB")))
    assert run(parser, ["--image-size", "99999"]) == 2
    assert capsys.readouterr().err.endswith("Smaller numbers take less memory: --image-size 99999.\n")


@pytest.mark.parametrize(("count", "text"), [(0, ""), (1, "a"), (2, "a, b"), (3, "a, b, …")])
def test_some_of_many_names(count, text):
    assert some(list("abc")[:count], most=2) == text


def test_a_file_is_named_once():
    assert about("a b.png", "a b.png is empty.") == "a b.png is empty."
    assert about("a.png", "No such file: 'a.png'") == "No such file: 'a.png'"
    assert about("a.png", FileNotFoundError(2, "No such file", "a.png")) == "No such file: 'a.png'"
    assert about("a", "a.png is empty.") == "a: a.png is empty."
    assert about("-", "The given content is empty.") == "-: The given content is empty."
