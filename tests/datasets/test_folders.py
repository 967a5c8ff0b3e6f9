"""Which files of a folder are images, and that nothing is left out without a word."""

import os

import pytest
from PIL import Image

from efficientnet.cli.image_arguments import expand
from efficientnet.datasets.folders import find_images, is_image
from efficientnet.datasets.samples import find_samples


@pytest.fixture
def folder(tmp_path):
    """A class folder as people have them."""
    root = tmp_path / "images"
    for place in ("cat", "cat/2023/may", "dog"):
        (root / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / place / "1.png")
    for name in ("cat/readme.txt", "cat/Thumbs.db", "cat/.DS_Store", "dog/weights.h5", "dog/table.csv"):
        (root / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" if name.endswith("db") else b"words")
    (root / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "dog" / "pipe.jpg")
    (root / "dog" / "again").symlink_to(root / "dog")  # round and round
    Image.new("RGB", (8, 8)).save(root / "loose.png")
    return root


def test_all_images_of_a_class_however_deep(folder):
    samples = find_samples(folder)
    assert [(sample.path.relative_to(folder).as_posix(), sample.label) for sample in samples.found] == [
        ("cat/1.png", "cat"), ("cat/2023/may/1.png", "cat"), ("dog/1.png", "dog"),
    ]  # fmt: skip
    (note,) = samples.notes
    for words in (
        "1 in no folder of a class (loose.png)",
        "4 not readable as images (cat/Thumbs.db, cat/readme.txt, dog/table.csv, …)",
        "1 hidden (cat/.DS_Store)",
        "1 links that lead nowhere (dog/gone.jpg)",
        "1 not regular files (dog/pipe.jpg)",
    ):
        assert words in note


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "jfif", "jpe", "png", "webp", "gif", "bmp", "tif", "jp2", "avif"])
def test_suffixes_that_can_be_read(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    path.touch()
    assert is_image(path)
    assert find_images(tmp_path).images == [path]


@pytest.mark.parametrize(("kind", "is_one"), [("JPEG", True), ("PNG", True), ("GIF", True), ("PDF", False)])
def test_content_decides_where_the_suffix_says_nothing(tmp_path, kind, is_one):
    for name in ("scan", "scan.dat"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, kind)
        assert is_image(tmp_path / name) == is_one


@pytest.mark.parametrize("text", ["/* Colors of the page */", "#define WIDTH 3"])
def test_programs_are_no_images(tmp_path, text):
    path = tmp_path / "style.css"
    path.write_text(text)
    assert not is_image(path)


def test_predict_says_what_it_leaves_out(folder, capsys):
    assert expand(str(folder), recursive=False) == [str(folder / "loose.png")]
    assert "2 folders (cat, dog); --recursive looks into folders" in capsys.readouterr().err
    assert len(expand(str(folder), recursive=True)) == 4
    assert "Thumbs.db" in capsys.readouterr().err
