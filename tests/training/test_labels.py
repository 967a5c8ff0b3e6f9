"""A training on any number of labels per image: its data, its loss, its log and what its model predicts."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")

from efficientnet import get_variant, save_variant
from efficientnet.cli.main import main
from efficientnet.common.measures import best_threshold
from efficientnet.datasets import load
from efficientnet.datasets.splits import keep_rare_labels
from efficientnet.errors import Interrupted
from efficientnet.family.variants import V1_BLOCKS
from efficientnet.keras_files.metadata import read_targets, read_thresholds
from efficientnet.training import FINETUNE, OneProcess, Task, train
from efficientnet.training.losses import label_loss
from efficientnet.training.objectives import objective

pytestmark = pytest.mark.usefixtures("eagerly")

COLORS = ("red", "green", "blue")
VARIANT = dataclasses.replace(get_variant("b0"), name="small", width=0.25, resolution=32, blocks=V1_BLOCKS[:1])
RECIPE = dataclasses.replace(
    FINETUNE, epochs=2, head_steps=60, epoch_steps=0, batch_size=8, unfreeze=None, mixup=(0.2, 0.2)
)


@pytest.fixture
def table(tmp_path):
    """Forty images, whose channels are light where the label applies."""
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for index in range(40):
        applies = np.array([index & 1, index & 2, index & 4]) > 0
        pixels = rng.integers(0, 60, (32, 32, 3)) + 150 * applies
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{'|'.join(name for name, yes in zip(COLORS, applies, strict=True) if yes)}")
    (tmp_path / "set.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "set.csv"


def task_on(table, **changes):
    data = load(table, 0.3, 32, targets="labels")
    return Task(VARIANT, None, data, dataclasses.replace(RECIPE, **changes), 32)


@pytest.mark.slow
def test_from_a_table_to_predictions(table, tmp_path, capsys):
    save_variant(VARIANT, tmp_path / "small.json")
    out = tmp_path / "run"
    arguments = [
        str(table), "--targets", "labels", "--model", str(tmp_path / "small.json"), "--weights", "none", "--out",
        str(out), "--image-size", "32", "--set", "head_steps=60", "--set", "epoch_steps=0", "--epochs", "2",
        "--batch-size", "8", "--set", "mixup=[0.2, 0.2]", "--balance",
    ]  # fmt: skip
    assert main(["train", *arguments, "--plan"]) == 0
    assert "3 labels, 1.6 per image" in capsys.readouterr().out
    assert main(["train", *arguments]) == 0
    assert "mean average precision 1.0000 in validation" in capsys.readouterr().out
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[4:-1] == [
        "loss", "label_accuracy", "val_loss", "val_label_accuracy", "val_mean_average_precision",
    ]  # fmt: skip
    assert (out / "curves.png").exists()
    model = str(out / "model.keras")
    assert read_targets(model) == "labels"
    thresholds = read_thresholds(model)
    assert len(thresholds) == 3

    assert main(["evaluate", model, str(table), "--part", "validation", "--json"]) == 0
    output, notes = capsys.readouterr()
    found = json.loads(output)
    assert found["mean_average_precision"] == found["macro_f1"] == 1
    assert found["threshold"] == pytest.approx(thresholds)
    assert f"{found['images']} of the 40 images are in" in notes
    assert main(["predict", str(table.parent / "5.png"), "--model", model, "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert {entry["label"] for entry in predicted["predictions"]} == {"red", "blue"}


def test_a_validation_table_without_the_column_of_a_label(table, tmp_path):
    (tmp_path / "train.csv").write_text("path,red,blue\n0.png,0,1\n1.png,1,0\n2.png,1,1\n")
    (tmp_path / "val.csv").write_text("path,red\n3.png,1\n4.png,0\n")
    with pytest.raises(ValueError, match=r"val\.csv has no column of blue, which .*train\.csv has"):
        load(tmp_path / "train.csv", tmp_path / "val.csv", 32, targets="labels")
    (tmp_path / "val.csv").write_text("path,label\n3.png,red\n4.png,\n")  # says what applies
    assert load(tmp_path / "train.csv", tmp_path / "val.csv", 32, targets="labels").targets.values[3:].sum() == 1


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_stopped_and_resumed(table, tmp_path):
    whole = train(task_on(table, loss="asymmetric"), tmp_path / "whole")

    class Stopping(OneProcess):
        steps = 0

        def any(self, flag):
            Stopping.steps += 1
            return Stopping.steps == 62  # after the head's stage

    with pytest.raises(Interrupted):
        train(task_on(table, loss="asymmetric"), tmp_path / "pieces", processes=Stopping())
    resumed = train(task_on(table, loss="asymmetric"), tmp_path / "pieces", resume=True)
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


@pytest.mark.parametrize("is_asymmetric", [False, True])
def test_losses(is_asymmetric):
    rng = np.random.default_rng(0)
    truth, scores = (rng.random((5, 3)) < 0.4).astype("f"), rng.uniform(0.01, 0.99, (5, 3)).astype("f")
    shifted = np.maximum(scores - 0.05, 0)
    negative = shifted**4 * np.log(1 - shifted) if is_asymmetric else np.log(1 - scores)
    expected = -(truth * np.log(scores) + (1 - truth) * negative)
    assert float(label_loss(is_asymmetric)(truth, scores)) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([[1, 2, 3], [4, 5, 6]], "f")
    weighted = expected * np.where(truth, weights[1], weights[0])
    assert float(label_loss(is_asymmetric, weights)(truth, scores)) == pytest.approx(weighted.mean(), rel=1e-5)


def test_binary_cross_entropy_is_keras_own():
    import keras

    rng = np.random.default_rng(0)
    truth, scores = (rng.random((5, 3)) < 0.4).astype("f"), rng.uniform(0, 1, (5, 3)).astype("f")
    own = keras.losses.BinaryCrossentropy()(truth, scores)
    assert float(label_loss()(truth, scores)) == pytest.approx(float(own), rel=1e-5)


def test_weights_make_images_with_and_without_a_label_count_equally(table):
    task = dataclasses.replace(task_on(table), balance=True)
    truth = task.data.targets.values[task.data.training]
    stage = task.stages()[0]
    for label in range(3):
        only = np.zeros(truth.shape, "f")
        only[:, label] = truth[:, label]
        both = [np.where(truth == side, 0.5, truth).astype("f")[:, label] for side in (True, False)]
        scores = np.where(np.arange(3) == label, np.stack(both)[:, :, None], truth)
        sides = [float(task.objective.loss(stage)(truth.astype("f"), one)) for one in scores]
        assert sides[0] == pytest.approx(sides[1], rel=1e-3)


def test_the_threshold_of_the_highest_f1():
    scores = np.array([0.9, 0.8, 0.6, 0.4, 0.3])
    assert best_threshold(scores, np.array([True, True, True, False, False])) == pytest.approx(0.5)
    assert best_threshold(scores, np.array([True, False, False, False, False])) == pytest.approx(0.85)
    assert best_threshold(scores, np.array([False, False, False, False, True])) == pytest.approx(0.15)
    assert best_threshold(scores, np.zeros(5, bool)) == 0.5


def test_rare_labels_are_in_both_parts():
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 4), bool)
    truth[:, 0] = rng.random(60) < 0.5
    for label, count in ((1, 2), (2, 3), (3, 1)):
        truth[rng.permutation(60)[:count], label] = True
    digests = [rng.bytes(32) for _ in range(60)]
    for held_out in (rng.random(60) < 0.2, np.zeros(60, bool), ~truth.any(axis=1) | truth[:, 1] | truth[:, 3]):
        found = keep_rare_labels(held_out, truth, digests)
        assert truth[~found].any(axis=0).all()
        assert truth[found].any(axis=0).tolist() == [True, True, True, False]
        assert (found != held_out).sum() <= 4
    copies = [digests[0]] * 60  # which stay together
    assert len(set(keep_rare_labels(np.zeros(60, bool), truth, copies))) == 1


def test_images_in_several_folders_count_once(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for index in range(12):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        for label in ("a", "b") if index % 3 == 0 else ("ab"[index % 2],):
            (tmp_path / label).mkdir(exist_ok=True)
            image.save(tmp_path / label / f"{index}{label}.png")
    data = load(tmp_path, 0.5, 8, targets="labels")
    assert "4 images are in several folders: each counts once, with all of their labels" in capsys.readouterr().err
    assert len(data.pixels) == 12
    assert data.targets.values.sum() == 16
    assert sorted({data.targets.text(row) for row in range(12)}) == ["a", "a|b", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.png,cat\nb.png,\n", "1 label: expected at least 2. For a single one, give the images with it"),
        ("path,cat,dog\na.png,1,x\n", "line 2: dog is 'x', expected 1 where the label applies, or 0"),
        ("path,cat,dog\na.png,1,0\nb.png,1,0\n", "No readable images to train on with dog"),
        ("file,cat\na.png,1\n", "expected path and label, or path and a column for each label"),
    ],
)
def test_data_that_cannot_be_learnt_from(content, message, tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), name[0].replace("a", "red").replace("b", "blue")).save(tmp_path / name)
    (tmp_path / "set.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "set.csv", 0.5, 8, targets="labels").check()


def test_contradictions(table, tmp_path):
    with pytest.raises(ValueError, match="targets='labels' is for a folder or a CSV file"):
        load("digits", targets="labels")
    with pytest.raises(ValueError, match="loss='asymmetric': expected no other than the usual one"):
        objective(load(table, 0.3, 8), dataclasses.replace(RECIPE, loss="asymmetric"))
    with pytest.raises(ValueError, match="loss='hinge': expected asymmetric"):
        dataclasses.replace(RECIPE, loss="hinge")
