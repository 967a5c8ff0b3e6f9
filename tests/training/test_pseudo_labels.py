"""Images without labels, which a teacher labels."""

import csv
import dataclasses

import numpy as np
import pytest
import stopped_training
from PIL import Image

pytest.importorskip("keras")

from efficientnet import training
from efficientnet.cli.main import main
from efficientnet.datasets import load
from efficientnet.datasets.files import load_unlabelled
from efficientnet.training import plan
from efficientnet.training.pseudo_labels import add_pseudo_labels, read_pseudo_labels, write_pseudo_labels
from efficientnet.training.teacher import Teacher

SIDE = 16


def teacher(pixels):
    """Sees "light" in bright images, and is not sure of those in between."""
    light = np.clip((pixels.mean(axis=(1, 2, 3)) - 60) / 120, 0, 1)
    return np.stack([1 - light, light], axis=1).astype(np.float32)


def write(path, level, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([level, seed]).integers(0, 8, (20, 20, 3))
    Image.fromarray((level + noise).astype(np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    for index in range(6):
        write(tmp_path / "set" / "dark" / f"{index}.png", 30, index)
        write(tmp_path / "set" / "light" / f"{index}.png", 200, index)
    return load(tmp_path / "set", 0.3, SIDE)


@pytest.fixture
def folder(tmp_path, data):
    for index, level in enumerate((10, 40, 215, 116)):
        write(tmp_path / "more" / "within" / f"{index}.png", level)
    held_out = data.entries[data.validation[0]].path
    (tmp_path / "more" / "copy.png").write_bytes(held_out.read_bytes())
    (tmp_path / "more" / "notes.txt").write_text("no image")
    return tmp_path / "more"


@pytest.mark.parametrize("whole", [False, True])
def test_sure_images_are_trained_on(data, folder, tmp_path, capsys, whole):
    if whole:
        data = load(tmp_path / "set", 0.3, SIDE, whole=True)
    more = load_unlabelled(folder, None if whole else SIDE, crop=data.crop)
    joined, _ = add_pseudo_labels(data, more, teacher, SIDE, 0.9)
    said = capsys.readouterr().err
    assert "3 of 5 images without labels get the teacher's predictions: of 1 it is not sure (least 0.9), 1 are" in said
    assert "notes.txt" in said
    assert len(joined.training) == len(data.training) + 3
    np.testing.assert_array_equal(joined.validation, data.validation)
    new = joined.training[-3:]
    np.testing.assert_allclose(joined.targets.values[new], [[1, 0], [1, 0], [0, 1]], atol=0.01)
    np.testing.assert_array_equal(joined.targets.values[: len(data.pixels)], np.eye(2)[data.targets.values])
    levels = [np.asarray(joined.pixels[int(row)]).mean() for row in new]
    assert levels == pytest.approx([13.5, 43.5, 218.5], abs=3)
    assert [joined.entries[row].path.name for row in new] == ["0.png", "1.png", "2.png"]
    joined.check()


def test_a_resumed_training_takes_the_same(data, folder, tmp_path):
    more, table = load_unlabelled(folder, SIDE, crop=data.crop), tmp_path / "table.csv"
    first, predicted = add_pseudo_labels(data, more, teacher, SIDE, 0.6)
    write_pseudo_labels(table, data.classes, predicted)

    def other(pixels):
        return teacher(pixels)[:, ::-1]

    again, _ = add_pseudo_labels(data, more, other, SIDE, 0.6, read_pseudo_labels(table, data.classes))
    assert again.fingerprint() == first.fingerprint()
    assert add_pseudo_labels(data, more, other, SIDE, 0.6)[0].fingerprint() != first.fingerprint()
    with table.open() as file:
        assert next(csv.reader(file)) == ["sha256", "dark", "light"]


def test_weights_of_images(data, folder, tmp_path):
    weights = np.linspace(1, 2, len(data.pixels))
    weighted = dataclasses.replace(data, targets=dataclasses.replace(data.targets, weights=weights))
    more = load_unlabelled(folder, SIDE, crop=data.crop)
    joined, _ = add_pseudo_labels(weighted, more, teacher, SIDE, 0.9)
    assert joined.targets.weights[-3:] == pytest.approx(weights[data.training].mean())


def test_another_command_leaves_the_table_of_a_training_alone(data, folder, tmp_path, monkeypatch, capsys):
    class Taught(Teacher):
        fingerprint, channels = "mine", 3

        def __init__(self):
            pass

        def __call__(self, pixels):
            return teacher(pixels)

    monkeypatch.setattr(training, "train", stopped_training.train)
    monkeypatch.setattr(Teacher, "of_file", lambda *arguments: Taught())
    monkeypatch.setattr(plan, "make_plan", lambda *arguments: "a plan")
    run = tmp_path / "run"
    command = [
        "train",
        str(tmp_path / "set"),
        "--teacher",
        str(tmp_path),
        "--unlabelled",
        str(folder),
        "--out",
        str(run),
    ]
    command += ["--image-size", "32", "--set", "crop=1"]
    assert main([*command, "--plan"]) == 0
    assert not (run / "pseudo_labels.csv").exists()
    assert main(command) == 143
    before = (run / "pseudo_labels.csv").read_text()
    other = ["--set", "pseudo_confidence=0.95"]
    assert main([*command, *other]) == 2
    assert "holds a training with other settings" in capsys.readouterr().err
    assert main([*command, *other, "--plan"]) == 0
    assert (run / "pseudo_labels.csv").read_text() == before
    assert main(["train", "--resume", "--out", str(run)]) == 143


@pytest.mark.parametrize(
    ("option", "targets"), [("unlabelled", "labels"), ("teacher", "values"), ("teacher", "ordinal")]
)
def test_targets_that_are_not_taught_are_refused_before_the_data_is_read(tmp_path, capsys, option, targets):
    command = ["train", str(tmp_path / "none.csv"), "--targets", targets, "--out", str(tmp_path / "run")]
    assert main([*command, "--teacher", str(tmp_path), *(["--unlabelled", "x"] if option == "unlabelled" else [])]) == 2
    assert f"--{option} is for the targets classes, probabilities" in capsys.readouterr().err


def test_nothing_to_learn(data, folder, tmp_path):
    more = load_unlabelled(folder, SIDE, crop=data.crop)
    with pytest.raises(ValueError, match="None of the 5 images without labels is left"):
        add_pseudo_labels(data, more, lambda pixels: np.full((len(pixels), 2), 0.5), SIDE, 0.9)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        load_unlabelled(tmp_path / "empty", SIDE, crop=1)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load_unlabelled(tmp_path / "none", SIDE, crop=1)


def test_without_a_teacher(tmp_path, capsys):
    assert main(["train", "digits", "--unlabelled", str(tmp_path / "photos"), "--out", str(tmp_path / "run")]) == 2
    assert "--unlabelled takes --teacher" in capsys.readouterr().err
    for setting, option in (("teacher_share=0.3", "teacher"), ("pseudo_confidence=0.9", "unlabelled")):
        assert main(["train", "digits", "--set", setting, "--out", str(tmp_path / "run")]) == 2
        assert f"has no effect without --{option}" in capsys.readouterr().err
