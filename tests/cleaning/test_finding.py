"""All issues of a data set, its files and its page, with features that are the colors of the images."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import stopped_training
from PIL import Image

from efficientnet import datasets, get_variant, training
from efficientnet.cleaning import LabelIssues, compute_features, find_issues, finding, write_report
from efficientnet.cleaning.report import read_indices
from efficientnet.cli.main import main

pytest.importorskip("sklearn")

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture(autouse=True)
def colors(monkeypatch):
    """Describes an image by its mean color and four of its pixels."""

    def features(data, size, model="lite0", weights="imagenet"):
        rows = np.sort(np.concatenate([data.training, data.validation]))
        pixels = np.stack([np.asarray(datasets.data.square(data.pixels[row], size, 1.0)) for row in rows])
        few = pixels[:, ::16, ::16].reshape(len(rows), -1) / 5
        return rows, np.concatenate([pixels.mean(axis=(1, 2)), few], axis=1)

    monkeypatch.setattr(finding, "compute_features", features)


@pytest.fixture
def folder(tmp_path):
    """Three colors, an image in the wrong folder, a copy in another, a rainbow, and a file that is not an image."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(15):
            pixels = np.clip(rng.normal(color, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    data = tmp_path / "data"
    (data / "green" / "3.png").rename(data / "red" / "=green.png")
    (data / "blue" / "copy.png").write_bytes((data / "red" / "5.png").read_bytes())
    (data / "blue" / "broken.png").write_text("no image")
    Image.fromarray(rng.choice([0, 255], (32, 32, 3)).astype(np.uint8)).save(data / "red" / "noise.png")
    return data


def names(found, kind):
    return [issue.image.path.rpartition("data/")[2] for issue in found.of(kind)]


def test_a_folder(folder):
    found = find_issues(datasets.load(folder, size=32))
    assert found.images == 47
    assert {"red/=green.png", "blue/copy.png"} <= set(names(found, "label"))
    (wrong,) = (issue for issue in found.of("label") if issue.image.path.endswith("=green.png"))
    assert (wrong.image.label, wrong.suggested) == ("red", "green")
    assert wrong.score < 0.3 < wrong.confidence
    pairs = {(issue.image.path[-10:], issue.other.path[-9:]) for issue in found.of("duplicate")}
    assert ("e/copy.png", "red/5.png") in pairs
    assert "red/noise.png" in names(found, "outlier")
    assert [path.name for path in found.unreadable] == ["broken.png"]
    assert find_issues(datasets.load(folder, size=32)).found == found.found


@pytest.mark.slow
def test_the_command(folder, tmp_path, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    out = tmp_path / "out"
    assert main(["clean", str(folder), "--image-size", "32", "--out", str(out)]) == 1  # one cannot be read
    printed = capsys.readouterr()
    assert "skipped" in printed.err
    assert "47 images" in printed.out.splitlines()[0]
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    with (out / "issues.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "index", "path", "kind", "part", "label", "suggested", "score", "confidence", "other_path", "other_part",
        "other_label",
    ]  # fmt: skip
    assert {row["kind"] for row in rows} == {"label", "duplicate", "outlier"}
    assert all(0 <= float(row["score"]) <= 1 for row in rows if row["kind"] == "label")
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= 4
    assert "broken.png cannot be read" in page

    (folder / "blue" / "broken.png").unlink()
    assert main(["clean", str(folder), "--image-size", "32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 47
    assert found["counts"]["label"] == sum(row["kind"] == "label" for row in found["issues"])


def test_arrays_have_no_paths(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.normal(np.array(list(COLORS.values()))[labels][:, None, None], 20, (60, 32, 32, 3)).clip(0, 255)
    labels[[7, 8, 9]] = 0, 0, 1
    found = find_issues(datasets.load([(pixels.astype(np.uint8), labels)], 0.2, 32, classes=list(COLORS)))
    assert set(names(found, "label")) <= {"7", "8", "9"}
    assert len(found.of("label")) > 1
    write_report(found, tmp_path)
    assert "data:image/jpeg" in (tmp_path / "report.html").read_text("utf-8")


def test_an_image_that_vanished_is_left_out_of_the_page(folder, tmp_path):
    found = find_issues(datasets.load(folder, size=32))
    (folder / "red" / "=green.png").unlink()
    write_report(found, tmp_path / "out")
    assert "=green.png" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_class_of_one_image_is_not_judged(folder):
    (folder / "white").mkdir()
    Image.new("RGB", (32, 32), "white").save(folder / "white" / "0.png")
    found = find_issues(datasets.load(folder, size=32))
    assert found.notes == ["white has one image only, whose label is not judged"]
    assert "white/0.png" not in names(found, "label")


def test_only_classes_are_judged(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "set.csv").write_text("path,label\n" + "a.png,cat|dog\n")
    data = datasets.load(tmp_path / "set.csv", 0.5, 32, targets="labels")
    with pytest.raises(ValueError, match="labels to learn: only labels of classes"):
        find_issues(data)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_features_of_a_network(folder, whole, capsys):
    pytest.importorskip("openvino")
    small = dataclasses.replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
    data = datasets.load(folder, size=32, whole=whole)
    if whole:
        data.entries[data.training[0]].path.unlink()
    rows, features = compute_features(data, 32, small, weights=None)
    assert len(rows) == len(features) == 47 - whole
    assert np.isfinite(features).all()
    assert ("No such file" in capsys.readouterr().err) == whole


# --- train --clean ---------------------------------------------------------------------------------------------------


def test_only_training_labels_are_left_out(folder):
    data = datasets.load(folder, validation=0.3, size=32)
    found = finding.find_wrong_training_labels(data, 32)
    assert found
    assert {issue.image.row for issue in found} <= set(data.training.tolist())
    left = data.without(np.array([issue.image.row for issue in found]))
    assert len(left.training) == len(data.training) - len(found)
    assert left.validation.tolist() == data.validation.tolist()


def test_a_class_of_suspects_keeps_its_images(folder, monkeypatch):
    data = datasets.load(folder, validation=0.3, size=32)
    labels = data.targets.indices[np.sort(data.training)]
    blue = np.flatnonzero(labels == data.classes.index("blue"))
    numbers = np.zeros(len(labels))
    judged = LabelIssues(
        numbers, labels * 0, numbers, np.append(blue, np.flatnonzero(labels == data.classes.index("red"))[:1])
    )
    monkeypatch.setattr(finding, "find_label_issues", lambda *arguments, **options: judged)
    assert [issue.image.label for issue in finding.find_wrong_training_labels(data, 32)] == ["red"]


def test_training_leaves_out_what_is_stored(folder, tmp_path, monkeypatch, capsys):
    """A run that is resumed does not judge the labels again."""
    tasks = []

    def train(task, out, **options):
        tasks.append(task)
        stopped_training.train(task, out, **options)

    monkeypatch.setattr(training, "train", train)
    out = tmp_path / "run"
    options = ["--clean", "--image-size", "32", "--epochs", "1", "--set", "head_epochs=0", "--set", "epoch_steps=0"]
    assert main(["train", str(folder), "--out", str(out), *options]) == 143
    (task,) = tasks
    left_out = read_indices(out / "left_out.csv")
    assert left_out
    assert f"left out {len(left_out)} of " in capsys.readouterr().out
    monkeypatch.setattr(finding, "compute_features", None)
    assert main(["train", "--out", str(out), "--resume"]) == 143
    assert not tasks[1].tables
    assert tasks[1].data.training.tolist() == task.data.training.tolist()
    (out / "left_out.csv").write_text("path\nred/1.png\n")
    assert main(["train", "--out", str(out), "--resume"]) == 2
    assert "left_out.csv is damaged" in capsys.readouterr().err


def test_several_processes_do_not_judge_labels(folder, tmp_path, capsys):
    command = [
        "train",
        str(folder),
        "--clean",
        "--distributed",
        "a:1",
        "b:1",
        "--rank",
        "0",
        "--out",
        str(tmp_path / "x"),
    ]
    assert main(command) == 2
    assert "--clean judges all images in one process" in capsys.readouterr().err


@pytest.mark.parametrize("targets", ["labels", "values"])
def test_labels_and_numbers_are_not_judged(targets, tmp_path, capsys):
    command = ["train", str(tmp_path / "none.csv"), "--targets", targets, "--clean", "--out", str(tmp_path / "run")]
    assert main(command) == 2  # before the data is read
    assert f"--clean is for the targets classes, ordinal, probabilities, not for {targets}" in capsys.readouterr().err
