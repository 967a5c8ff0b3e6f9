"""Files are written whole, whoever else writes them, and nothing is left over."""

import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from efficientnet.common.files import check_apart, remove_parts, replacing


def test_threads_write_one_file_and_each_all_of_it(tmp_path):
    path = tmp_path / "report.md"

    def write(number):
        with replacing(path) as part:
            part.write_text(str(number) * 1000)
            time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    content = path.read_text()
    assert len(set(content)) <= 2
    assert content == content[: len(content) // 1000] * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("before")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("after")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*report\.md'"), replacing(tmp_path / "report.md"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_of_the_part_names_the_file(tmp_path):
    path = tmp_path / "report.md"
    with pytest.raises(OSError) as caught, replacing(path) as part:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(part))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    with pytest.raises(FileNotFoundError, match="source"), replacing(path):
        (tmp_path / "source").read_text()


@pytest.fixture
def full(monkeypatch):
    usage = shutil._ntuple_diskusage(1 << 20, 1 << 20, 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos"), ValueError("failed: No space left on device")])
def test_a_full_disk_names_the_file_whatever_a_library_says(tmp_path, full, error):
    path, message = tmp_path / "report.md", r"No space left on device: '.*report\.md'"
    with pytest.raises(OSError, match=message), replacing(path):
        raise error
    with pytest.raises(OSError, match=message), replacing(path, size=1001):
        pytest.fail("began to write")
    assert list(tmp_path.iterdir()) == []


def test_a_message_for_users_stays_on_a_full_disk(tmp_path, full):
    with pytest.raises(ValueError, match="no such option"), replacing(tmp_path / "report.md"):
        raise ValueError("no such option")


def test_the_longest_name(tmp_path):
    path = tmp_path / ("n" * 251 + ".csv")
    with replacing(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"


def test_left_over_parts_go_after_a_day(tmp_path):
    def left_over(name, age):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("half")
        os.utime(tmp_path / name, 2 * (time.time() - age,))

    left_over(".efficientnet-part-ab_12345", 25 * 3600)
    left_over(".efficientnet-part-ab_12346", 60)
    left_over(".efficientnet-part-of-my-own", 25 * 3600)
    with replacing(tmp_path / "report.md") as part:
        part.write_text("whole")
    kept = {".efficientnet-part-ab_12346", ".efficientnet-part-of-my-own", "report.md"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept - {".efficientnet-part-ab_12346"}


def test_a_folder_to_write_into_lies_outside_of_the_images(tmp_path, monkeypatch):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    for out, images in ((".", "."), ("runs/photos", "."), ("../link/a/new", "../photos"), ("a", tmp_path / "link")):
        with pytest.raises(ValueError, match=r"lies in .*choose a folder outside of it \(--out\)"):
            check_apart(Path(out), Path(images))
    for out, images in (("../photos-out", "."), ("..", "."), ("a", "digits"), ("a", "no.csv")):
        check_apart(Path(out), Path(images))
