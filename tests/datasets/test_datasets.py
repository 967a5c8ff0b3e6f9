"""Images of known classes: how they are read, split, drawn and resized."""

import gzip
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from efficientnet.datasets import load
from efficientnet.datasets.builtin import load_digits, load_fashion_mnist
from efficientnet.datasets.data import Data, Files, is_held_out
from efficientnet.datasets.files import load_files
from efficientnet.datasets.targets import Classes


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 8, 8, 3), np.uint8)
    return Data("noise", pixels, Classes(["even", "odd"], np.arange(20) % 2), np.arange(12), np.arange(12, 20))


def compressed(content):
    """The same bytes each time, since they name tests."""
    return gzip.compress(content, mtime=0)


def idx(array):
    """A file in MNIST's format."""
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return compressed(header + array.tobytes())


def test_a_file_falls_to_one_side_whatever_is_added():
    contents = [str(index).encode() for index in range(2000)]
    held_out = {content for content in contents if is_held_out(content, 0.2)}
    assert {content for content in contents[::2] if is_held_out(content, 0.2)} == held_out & set(contents[::2])
    assert 340 < len(held_out) < 460


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "holds no image with a class"),
        ({"a": 1}, "images of one class, a"),
        ({"a": 1, "b": 0}, "images of one class, a"),
        ({"train": 1, "val": 1}, "parts of a data set, not classes"),
        ({"train": 1, "val": 1, "__MACOSX": 0}, r"parts of a data set, not classes: pass \S+train or \S+val;"),
    ],
)
def test_folders_that_cannot_be_learnt_from(tmp_path, classes, message):
    for name, count in classes.items():
        (tmp_path / name).mkdir()
        for index in range(count):
            (tmp_path / name / f"{index}.png").touch()
    with pytest.raises(ValueError, match=message):
        load_files(tmp_path, 0.2, 32)


def test_the_folder_of_one_class(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    for _ in range(2):  # without a folder inside, and with one
        with pytest.raises(ValueError, match=re.escape(f"the folder of one class? Then pass {tmp_path}.")):
            load_files(tmp_path / "cat", 0.2, 32)
        (tmp_path / "cat" / "more").mkdir(exist_ok=True)
        (tmp_path / "cat" / "more" / "2.png").touch()


def test_a_folder_with_a_folder_to_validate_with(tmp_path, capsys):
    for side, count in (("train", 3), ("val", 2)):
        for level, name in ((0, "dark"), (255, "light")):
            folder = tmp_path / side / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(np.full((10, 12, 3), level, np.uint8)).save(folder / f"{index}.png")
    (tmp_path / "train" / "dark" / "broken.png").write_text("no image")
    data = load_files(tmp_path / "train", tmp_path / "val", 16)
    assert (data.name, data.classes) == ("train", ["dark", "light"])
    assert data.pixels.shape == (11, 16, 16, 3)
    assert (len(data.training), len(data.validation)) == (6, 4)
    for rows in (data.training, data.validation):
        np.testing.assert_array_equal(data.pixels[rows].mean(axis=(1, 2, 3)), 255 * data.targets.values[rows])
    err = capsys.readouterr().err
    assert "skipped" in err
    assert "4 of the 4 images to validate with are trained on, too" in err
    (tmp_path / "val" / "dark").rename(tmp_path / "val" / "black")
    with pytest.raises(ValueError, match=r"classes that .* does not have: black"):
        load_files(tmp_path / "train", tmp_path / "val", 16)


def test_a_class_that_is_missing_or_empty_is_reported(tmp_path, capsys):
    """The same for folders and tables: left out of the classes, or out of the accuracy."""
    for name in ("train/a", "train/b", "train/none", "val/a", "val/b"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("train/a/1", "train/b/1", "val/a/2"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "train.csv").write_text("path,label\ntrain/a/1.png,a\ntrain/b/1.png,b\n")
    (tmp_path / "val.csv").write_text("path,label\nval/a/2.png,a\n")
    for train in ("train", "train.csv"):
        for val in ("val", "val.csv"):
            data = load_files(tmp_path / train, tmp_path / val, 8)
            data.check()
            err = capsys.readouterr().err
            assert "no images to validate in b" in err
            assert "2 of the 2" not in err
            assert ("no images in none: not counted as a class" in err) == (train == "train")
            assert data.classes == ["a", "b"]


@pytest.mark.parametrize(("name", "separator"), [("set.csv", ";"), ("SET.CSV", ","), ("set.tsv", "\t")])
def test_tables_as_spreadsheets_write_them(tmp_path, capsys, name, separator):
    for label in "ab":
        Image.new("RGB", (8, 8), "ab".index(label)).save(tmp_path / f"{label}.png")
    rows = ["path", " label"], ["a.png", "a", ""], ["", ""], ["b.png", "b"]
    (tmp_path / name).write_text("\n".join(map(separator.join, rows)))
    assert load(str(tmp_path / name), 0.5, 8).classes == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_entries_follow_their_images(table):
    data = load_files(table, 0.5, 8)
    assert data.fingerprint() == replace(data, pixels=data.pixels[::-1]).fingerprint()
    assert data.fingerprint() != replace(data, entries=data.entries[::-1]).fingerprint()
    some = data.subset(2, 1, seed=0)
    for whole in (data, some):
        by_file = dict(zip(data.entries, map(data.targets.text, range(len(data.entries))), strict=True))
        assert [by_file[entry] for entry in whole.entries] == list(map(whole.targets.text, range(len(whole.entries))))
    assert {entry.sha256 for entry in some.entries} < {entry.sha256 for entry in data.entries}


@pytest.fixture
def table(tmp_path):
    """Six images of two classes, and rows that cannot be used."""
    rng = np.random.default_rng(0)
    rows = ["path,label,note"]
    for index in range(6):
        folder = tmp_path / ("one", "two")[index % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(folder / "same-name-1.png" if index < 2 else
                                                                         folder / f"{index}.png")  # fmt: skip
        rows.append(f"{('one', 'two')[index % 2]}/{'same-name-1' if index < 2 else index}.png,{'ab'[index % 2]},x")
    path = tmp_path / "table.csv"
    path.write_text("\n".join([*rows, "one/2.png,b,again", "one/9.png,a,missing", "one/4.png", ",a,"]), "utf-8-sig")
    return path


def test_a_table_of_paths_and_labels(table, capsys):
    data = load_files(table, 0.5, 8)
    assert (data.classes, len(data.pixels)) == (["a", "b"], 6)
    assert sorted([*data.training, *data.validation]) == [0, 1, 2, 3, 4]
    assert data.targets.values[:5].tolist() == [0, 1, 1, 0, 1]
    err = capsys.readouterr().err
    assert re.search(r"one/2.png is called a \(line \d\) and b \(line 8\): left out", err)
    assert "one/9.png" in err
    assert "line 10: the label is missing" in err
    assert "line 11: the path is missing" in err


def test_a_table_to_validate_with(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("label,path\nb,two/3.png\n")
    data = load_files(table, other, 8)
    assert len(data.training) == 5
    assert data.targets.values[data.validation].tolist() == [1]
    other.write_text("label,path\nc,two/3.png\n")
    with pytest.raises(ValueError, match=r"classes that .* does not have: c"):
        load_files(table, other, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has the columns none: expected path and label"), ("path,class\na,b", "has the columns path, class"),
     ("path,label\n,\n", "holds no image with a class"), ("path,label,label\na,b,c", "several columns named label"),
     ("path,label\na,b.png,c", "line 2: there are more values than columns")],
)  # fmt: skip
def test_what_is_no_table(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_files(path, 0.2, 8)
    with pytest.raises(FileNotFoundError, match="There is no "):
        load_files(tmp_path / "none.csv", 0.2, 8)


def test_whole_images_stay_in_their_files(table):
    data = load_files(table, 0.5, None)
    assert isinstance(data.pixels, Files)
    assert data.pixels[0].shape == (9, 12, 3)
    some = data.subset(2, 1, seed=0)
    assert len(some.pixels) == len(some.training) + len(some.validation)
    assert some.pixels[0].shape == (9, 12, 3)
    assert data.resized(4) is data


def test_an_image_with_two_labels_is_reported(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), "red").save(tmp_path / name / "1.png")
    load_files(tmp_path, 0.2, 8)
    assert "the same image has two labels" in capsys.readouterr().err


def test_digits_are_enlarged():
    pytest.importorskip("sklearn")
    data = load_digits(0.2, 16)
    assert data.pixels.shape == (1797, 16, 16, 3)
    assert data.pixels.max() == 255
    assert len(data.classes) == 10
    assert set(data.training).isdisjoint(data.validation)
    data.check()


def test_fashion_mnist_from_its_files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 28, 28), np.uint8) for count in (4, 2)]
    for part, array in zip(("train", "t10k"), images, strict=True):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(array))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(len(array), dtype=np.uint8)))
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    data = load_fashion_mnist()
    assert data.pixels.shape == (6, 28, 28, 3)
    np.testing.assert_array_equal(data.pixels[data.validation][..., 2], images[1])
    np.testing.assert_array_equal(data.targets.values, [0, 1, 2, 3, 0, 1])
    # A fraction is held out of the images to train on, where the others are not used.
    part = load("fashion-mnist", 0.5, 28)
    assert sorted([*part.training, *part.validation]) == [0, 1, 2, 3]
    assert len(part.validation)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "apt-get install dataset-fashion-mnist"), (b"", "not an IDX file"), (b"<html>", "damaged"),
     (idx(np.zeros((2, 28, 28), np.uint8))[:-10], "damaged"), (compressed(b"\0\0\x08\x03\0\0\0"), "not an IDX file"),
     (compressed(b"\0\0\x08\x01\0\0\0\x09ab"), "not an IDX file")],
)  # fmt: skip
def test_fashion_mnist_is_missing_or_damaged(tmp_path, content, message):
    if content is not None:
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load_fashion_mnist(tmp_path)


@pytest.mark.parametrize("name", ["digits", "fashion-mnist", "tfds:mnist", "x.tfrecord"])
def test_a_set_that_holds_out_its_own_images(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is validated with its own images, not with those of {tmp_path}"):
        load(name, tmp_path, 8)


def test_what_cannot_be_learnt_from(data, capsys):
    with pytest.raises(ValueError, match="1 class: expected at least 2"):
        replace(data, targets=Classes(["all"], np.zeros(20, int))).check()
    with pytest.raises(ValueError, match="train on in odd"):
        replace(data, training=np.arange(0, 12, 2)).check()
    with pytest.raises(ValueError, match="No image was held out for validation"):
        replace(data, validation=np.arange(0)).check()
    replace(data, validation=np.array([12, 14])).check()
    assert "no images to validate in odd" in capsys.readouterr().err


def test_subsets_are_drawn_by_the_seed(data):
    some = data.subset(5, None, seed=1)
    assert (len(some.training), len(some.validation), len(some.pixels)) == (5, 8, 13)
    # Each image that was drawn is one of its own side, with its own label.
    flat = data.pixels.reshape(20, -1)
    found = [int(np.flatnonzero((flat == image.ravel()).all(axis=1))[0]) for image in some.pixels]
    assert set(found[:5]) <= set(data.training)
    assert found[5:] == list(data.validation)
    np.testing.assert_array_equal(some.targets.values, data.targets.values[found])
    np.testing.assert_array_equal(some.pixels, data.subset(5, None, seed=1).pixels)
    assert some.fingerprint() == data.subset(5, None, seed=1).fingerprint() != data.fingerprint()
    assert len(data.subset(1000, 1000, seed=0).training) == 12


def test_resized(data):
    small = data.resized(4)
    assert small.pixels.shape == (20, 4, 4, 3)
    assert small.pixels.dtype == np.uint8
    assert data.resized(8) is data


def test_classes_in_another_order():
    data = Data(
        "set", np.zeros((3, 8, 8, 3), np.uint8), Classes(["a", "b", "c"], np.arange(3)), np.arange(3), np.arange(0)
    )
    other = data.with_classes(["c", "a", "b"])
    assert other.classes == ["c", "a", "b"]
    assert [other.classes[label] for label in other.targets.values] == ["a", "b", "c"]
    for names, problem in (
        (["a", "b"], "no name for 'c'"),
        (["a", "b", "c", "d"], "no images of 'd'"),
        (list("aabc"), "twice"),
    ):
        with pytest.raises(ValueError, match=problem):
            data.with_classes(names)


def test_one_door_for_data(tmp_path):
    """Folders, tables and batches come through one function; what does not fit together is refused."""
    for name, level in (("dark", 0), ("light", 255)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (8, 8), (level, level, index)).save(tmp_path / "images" / name / f"{index}.png")
    rows = "".join(f"images/{name}/{index}.png,{name}\n" for name in ("dark", "light") for index in range(4))
    (tmp_path / "table.csv").write_text("path,label\n" + rows)
    folder, table = load(tmp_path / "images", 0.5, 8), load(str(tmp_path / "table.csv"), tmp_path / "images", 8)
    assert (folder.name, folder.classes, folder.pixels.shape) == ("images", ["dark", "light"], (8, 8, 8, 3))
    assert (len(table.training), len(table.validation)) == (8, 8)
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 1, 0])
    batches_of = load([(images, labels)], [(images, labels)], 8, classes=["dark", "light"])
    assert (batches_of.classes, len(batches_of.training), len(batches_of.validation)) == (["dark", "light"], 4, 4)
    with pytest.raises(ValueError, match="name the labels of batches"):
        load(tmp_path / "images", 0.5, 8, classes=["a", "b"])
    with pytest.raises(ValueError, match="is validated with its own images"):
        load("digits", tmp_path, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": ""}, "what is empty"), ({"what": 5}, "got int"), ({"validation": 1.5}, "validation=1"),
        ({"validation": -1}, "validation=-1: expected"), ({"validation": [([], [])]}, "validation is a list"),
        ({"size": 8.5}, "size=8"), ({"classes": ["0", "1", "0"], "what": []}, "'0' more than once"),
        ({"classes": "01", "what": []}, "classes='01': expected names"),
        ({"targets": "values", "columns": ["x", "x"]}, "'x' more than once"),
    ],
)  # fmt: skip
def test_arguments_of_the_door(tmp_path, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load(**{"what": tmp_path, "size": 8, **options})


def test_numbers_have_an_order_if_they_are_finite_and_differ(tmp_path):
    for index in range(4):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")

    def classes(*labels):
        rows = "".join(f"{index}.png,{label}\n" for index, label in enumerate(labels))
        (tmp_path / "table.csv").write_text("path,label\n" + rows)
        return load(tmp_path / "table.csv", 0.5, 8, targets="ordinal").classes

    assert classes("10", "9", "-1", "1e3") == ["-1", "9", "10", "1e3"]
    for labels in (("10", "nan", "9", "1"), ("1", "1.0", "2", "3"), ("1", "2", "3", "inf")):
        with pytest.raises(ValueError, match=r"order of the classes .* is not known"):
            classes(*labels)


@pytest.mark.parametrize(("side", "fitted", "crop"), [(8, 96, 1.0), (28, 128, 1.0), (40, 160, 1.0), (65, 224, 0.875)])
def test_small_images_are_kept_whole_and_enlarged_less(tmp_path, side, fitted, crop):
    """A frame of white around black stays where the image is small, and is cut off where it is not."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.full((side, side + 3, 3), 255, np.uint8)
            pixels[2:-2, 4:-4] = index + 2 * (name == "b")
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    data = load(tmp_path, 0.5, 224, fit=True)
    assert (data.pixels.shape[1:], data.side, data.crop) == ((fitted, fitted, 3), side, crop)
    assert (data.pixels[:, 0, fitted // 2].min() > 200) == (crop == 1)
    assert load(tmp_path, 0.5, 50).pixels.shape[1:] == (50, 50, 3)
    assert load(tmp_path, 0.5, 50, fit=True).pixels.shape[1] <= 50
    whole = load(tmp_path, 0.5, 224, whole=True, fit=True)
    assert (whole.side, whole.crop) == (side, crop)


@pytest.mark.slow
def test_digits_fit_like_a_folder_of_them():
    assert load("digits", 0.2, 224, fit=True).pixels.shape[1] == 96
    assert load("digits", 0.2, 24).side == 8
