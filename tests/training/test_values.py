"""Trainings on numbers, on classes with an order, on probabilities of classes, and with weights of images."""

from __future__ import annotations

import csv
import dataclasses
import json
import types

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")

import keras

from efficientnet import get_variant, save_variant
from efficientnet.cli.main import main
from efficientnet.datasets import load
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes, Labels, Ordinal, Values
from efficientnet.evaluation.evaluating import _samples
from efficientnet.family.variants import V1_BLOCKS
from efficientnet.training import FINETUNE
from efficientnet.training.batches import Batches
from efficientnet.training.loop import _Training
from efficientnet.training.objectives import objective

pytestmark = pytest.mark.usefixtures("eagerly")

VARIANT = dataclasses.replace(get_variant("b0"), name="small", width=0.25, resolution=32, blocks=V1_BLOCKS[:1])
LEVELS = np.linspace(20, 235, 40)


@pytest.fixture
def images(tmp_path):
    """Forty grey images, from dark to light; writes a table of them."""
    rng = np.random.default_rng(0)
    for index, level in enumerate(LEVELS):
        pixels = np.clip(level + rng.integers(-20, 20, (32, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{index}.png")

    def write(header, row):
        lines = [f"path,{header}", *(f"{index}.png,{row(index, level)}" for index, level in enumerate(LEVELS))]
        (tmp_path / "set.csv").write_text("\n".join(lines) + "\n")
        return str(tmp_path / "set.csv")

    return write


@pytest.fixture
def trained(tmp_path, capsys):
    """Trains by the command; returns its output, the rows of the log, and what evaluate finds in a table."""

    def train(table, *options, evaluated=None):
        save_variant(VARIANT, tmp_path / "small.json")
        out = tmp_path / "run"
        assert main([
            "train", table, "--model", str(tmp_path / "small.json"), "--weights", "none", "--out", str(out),
            "--image-size", "32", "--set", "head_steps=80", "--set", "epoch_steps=0", "--epochs", "2",
            "--batch-size", "8", "--set", "mixup=[0.1, 0.1]", *options,
        ]) == 0  # fmt: skip
        output = capsys.readouterr().out
        with (out / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        evaluated = evaluated or table
        assert main(["evaluate", str(out / "model.keras"), evaluated, "--part", "validation", "--json"]) == 0
        return output, rows, json.loads(capsys.readouterr().out)

    return train


@pytest.mark.slow
def test_values(images, trained, tmp_path, capsys):
    table = images("light,dark,importance", lambda index, level: f"{level * 10:g},{1 - level / 255:g},{index % 2 + 1}")
    output, rows, found = trained(table, "--targets", "values", "--weight-column", "importance")
    assert "Mean absolute error on" in (tmp_path / "run" / "report.html").read_text()
    assert "dark 0.07" in output and "r2 0." in output
    assert list(rows[0])[4:-1] == ["loss", "mae", "val_loss", "val_mae", "val_r2"]
    light, dark = found["per_value"]
    assert (light["name"], dark["name"]) == ("light", "dark")
    assert light["mean_absolute_error"] < 400 and dark["mean_absolute_error"] < 0.16
    assert light["spearman"] > 0.9
    model = str(tmp_path / "run" / "model.keras")
    assert main(["predict", str(tmp_path / "39.png"), "--model", model, "--json"]) == 0
    shown, notes = capsys.readouterr()
    predicted = json.loads(shown)
    assert predicted["kind"] == "numbers" and "softmax" not in notes
    assert [entry["label"] for entry in predicted["predictions"]] == ["light", "dark"]
    assert main(["evaluate", model, str(tmp_path / "run" / "validation.csv"), "--json"]) == 0
    (listed, _) = json.loads(capsys.readouterr().out)["per_value"]
    assert listed == {"name": "light"} | {key: pytest.approx(light[key]) for key in light if key != "name"}
    saved = keras.saving.load_model(model)
    assert saved.layers[-1].name == "probs"  # so that it converts like any
    plain = saved(np.asarray(Image.open(tmp_path / "39.png"), "f")[None])
    assert predicted["predictions"][0]["value"] == pytest.approx(float(plain[0][0]), rel=0.05)  # cropped
    assert main(["predict", str(tmp_path / "39.png"), "--model", model, "--softmax"]) == 2
    assert "gives values to predict" in capsys.readouterr().err


@pytest.mark.slow
def test_ordinal_classes(images, trained, tmp_path, capsys):
    names = ["dark", "dim", "bright", "light"]
    table = images("label", lambda index, level: names[index // 10])
    assert main(["train", table, "--targets", "ordinal", "--out", str(tmp_path / "none")]) == 2
    assert "the order of the classes bright, dark, dim, light is not known: give their" in capsys.readouterr().err
    (tmp_path / "names.txt").write_text("\n".join(names))
    _, rows, found = trained(table, "--targets", "ordinal", "--classes", str(tmp_path / "names.txt"), "--balance")
    assert list(rows[0])[4:-1] == ["loss", "accuracy", "val_loss", "val_accuracy", "val_mae"]
    assert found["ordinal"]["mean_absolute_error"] == pytest.approx(min(float(row["val_mae"]) for row in rows))
    assert found["ordinal"]["spearman"] > 0.7
    assert [row["class"] for row in found["per_class"]] == names


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_probabilities_of_classes(images, trained, tmp_path, capsys):
    """The tables of the parts name the most probable class."""
    table = images("dark,light", lambda index, level: f"{1 - index / 39:.3f},{index / 39:.3f}")
    _, rows, found = trained(table, "--targets", "probabilities", "--balance")
    assert found["top1"]["value"] == pytest.approx(float(rows[-1]["val_accuracy"]), abs=0.3)
    assert list(rows[0])[4:-1] == ["loss", "accuracy", "val_loss", "val_accuracy", "val_mean_recall"]
    assert float(rows[-1]["val_loss"]) < np.log(2)
    listed = str(tmp_path / "run" / "validation.csv")
    assert main(["evaluate", str(tmp_path / "run" / "model.keras"), listed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == found["top1"]


@pytest.mark.parametrize(
    ("header", "row", "options", "message"),
    [
        ("age", "old", {"targets": "values"}, "line 2: age is 'old', expected a finite number. Take the line out"),
        ("age", "nan", {"targets": "values"}, "line 2: age is 'nan', expected a finite number"),
        ("age", "", {"targets": "values"}, "line 2: age is '', expected a finite number"),
        ("age", "3", {"targets": "values"}, "all images to train on have the same age"),
        ("time", "17000000INDEX", {"targets": "values"}, "time: the numbers are so large, and so close together"),
        ("age", "3", {"targets": "values", "columns": ["size"]}, "has the columns path, age: expected size, too"),
        ("cat,dog", "0.5,0.6", {"targets": "probabilities"}, "are 0.5, 0.6, 1.1 in sum: expected numbers of 0 or more"),
        ("cat,dog", "-0.5,1.5", {"targets": "probabilities"}, "expected numbers of 0 or more whose sum is 1"),
        ("label,w", "cat,-1", {"weight": "w"}, "the weights in w have to be 0 or more, and not all 0"),
        ("label,w", "cat,1", {"weight": "v"}, "expected v, too"),
        ("label", "cat", {"targets": "ordinal"}, "the order of the classes cat is not known"),
        ("label", "cat", {"targets": "ordinal", "classes": ["dog"]}, "without a place in the order: cat"),
        ("label", "cat", {"columns": ["label"]}, "only values and probabilities come from columns"),
    ],
)
def test_data_that_is_not_as_described(images, header, row, options, message):
    with pytest.raises(ValueError, match=message):
        load(images(header, lambda index, level: row.replace("INDEX", f"{index:02}")), 0.5, 8, **options).check()


def test_the_most_probable_classes_of_a_table_are_evaluated(tmp_path):
    (tmp_path / "set.csv").write_text("path,voters,red,blue\na.png,1,0.4,0.6\nb.png,2,1,0\n")
    assert [sample.label for sample in _samples(tmp_path / "set.csv", ["blue", "red"]).found] == ["blue", "red"]


def test_tables_give_numbers_with_all_their_digits():
    numbers = [1700000123.0, 0.1, -1e300, 53.0, 48.13713456789]
    assert [Values(["x"], np.array([[number]])).cells(0) for number in numbers] == [
        ["1700000123"], ["0.1"], ["-1e+300"], ["53"], ["48.13713456789"]
    ]  # fmt: skip
    assert Values(["x"], np.array([[0.1]], np.float32)).cells(0) == ["0.1"]


def test_a_row_in_two_lines(tmp_path):
    (tmp_path / "set.csv").write_text("path,age\na.png,1\na.png,2\n")
    with pytest.raises(ValueError, match=r"line 3: a\.png stands in another line with other numbers"):
        load(tmp_path / "set.csv", 0.5, 8, targets="values")


def test_contradictions(tmp_path, capsys):
    assert main(["train", str(tmp_path), "--targets", "values", "--balance"]) == 2
    assert "--balance is for classes and labels, not for values" in capsys.readouterr().err
    assert main(["train", str(tmp_path), "--targets", "values"]) == 2
    assert "is a folder: numbers come from a CSV file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is for a folder or a CSV file; digits has classes"):
        load("digits", targets="values")


def of(targets):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    return Data("noise", pixels, targets, np.arange(8), np.arange(8, 12))


def test_saved_outputs_are_in_the_units_of_the_data():
    values = np.random.default_rng(0).normal((3.0, -100.0), (0.1, 40.0), (12, 2))
    goal = objective(of(Values(["a", "b"], values)), FINETUNE)
    encoded = goal.encode(np.arange(8))
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(encoded.std(axis=0), 1, rtol=1e-5)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="probs")])
    model.layers[0].set_weights([np.eye(2), np.zeros(2)])
    with goal.in_units(model):
        np.testing.assert_allclose(model.predict_on_batch(goal.encode(np.arange(12))), values, rtol=1e-4)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], np.eye(2))
    found = goal.measure(goal.encode(np.arange(8, 12)), np.arange(8, 12))
    assert found == pytest.approx({"loss": 0, "mae": 0, "r2": 1}, abs=1e-4)


def test_probabilities_of_ordinal_classes_are_the_differences():
    goal = objective(of(Ordinal(["low", "mid", "high"], np.arange(12) % 3)), FINETUNE, balance=True)
    encoded = goal.encode(np.arange(3))
    assert encoded.tolist() == [[0, 0], [1, 0], [1, 1]]
    counts = np.bincount(np.arange(8) % 3)
    np.testing.assert_allclose(goal.weigh(encoded), 8 / (3 * counts), rtol=1e-6)
    inputs = keras.Input((1,))
    above, classes = goal.finish(inputs)
    model = keras.Model(inputs, [above, classes])
    p, found = (np.asarray(each) for each in model.predict_on_batch(np.array([[0.0], [2.0]], "f")))
    # Before it is trained, an average image has the shares of the classes.
    np.testing.assert_allclose(found[0], counts / 8, rtol=1e-4)
    np.testing.assert_allclose(found, np.stack([1 - p[:, 0], p[:, 0] - p[:, 1], p[:, 1]], axis=1), atol=1e-6)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((4, 1), "f"), [np.ones((4, 2), "f"), np.ones((4, 3), "f")])
    np.testing.assert_allclose(model.get_layer("probs_above").get_weights()[0], 1, rtol=1e-5)
    measures = goal.measure(np.array([[0.9, 0.6], [0.9, 0.2]]), np.array([0, 1]))
    assert (measures["accuracy"], measures["mae"]) == (0.5, 1.0)
    # The most probable class counts, as in predict and evaluate, even where the median is another.
    above = np.array([[0.6, 0.45]], "f")  # 0.4, 0.15 and 0.45
    assert goal.measure(above, np.array([2])) == pytest.approx({"loss": 0.6547, "accuracy": 1, "mae": 0}, abs=1e-4)
    (right,) = goal.metrics()
    assert float(right(np.array([[1.0, 1.0]], "f"), above)) == 1
    assert float(right(np.array([[1.0, 0.0]], "f"), above)) == 0.5  # the mean with the one before


def test_numbers_of_images_that_do_not_count_are_left_out():
    """A table may have -999 where a number is unknown, with the weight 0."""
    values = np.random.default_rng(0).normal(3.0, 0.1, (12, 1))
    weights = np.ones(12)
    values[[1, 4]], weights[[1, 4]] = -999, 0
    goal = objective(of(Values(["a"], values, weights)), FINETUNE)
    rows = np.flatnonzero(weights[:8])
    encoded = goal.encode(rows)
    np.testing.assert_allclose([encoded.mean(), encoded.std()], [0, 1], atol=1e-4)
    close = Values(["a"], values + 1e7, weights)
    with pytest.raises(ValueError, match="cannot tell them apart"):
        dataclasses.replace(of(close), training=np.arange(8), validation=np.arange(8, 12)).check()


@pytest.mark.parametrize(
    ("targets", "message"),
    [(Classes(["a", "b"], np.array([0] * 7 + [1] + [0, 1] * 2)), "of a weight above 0 to train on in b"),
     (Labels(["a", "b"], np.array([[1, 0]] * 7 + [[1, 1]] * 5, bool)), "of a weight above 0 to train on with b")],
)  # fmt: skip
def test_a_class_whose_images_do_not_count_is_refused(targets, message):
    weights = np.array([1.0] * 7 + [0.0] + [1.0] * 4)
    data = of(dataclasses.replace(targets, weights=weights))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, training=np.arange(8), validation=np.arange(8, 12)).check()


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0] * 8 + [1] * 4, "all images to train on have the weight 0"),
     ([1] * 8 + [0] * 4, "all images to validate with have the weight 0"),
     ([1] * 8 + [1, 0, 0, 0], "all images to validate with have the same x")],
)  # fmt: skip
def test_parts_without_an_image_that_counts(weights, message):
    data = of(Values(["x"], np.arange(12.0)[:, np.newaxis], np.array(weights, float)))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, training=np.arange(8), validation=np.arange(8, 12)).check()


def test_images_count_by_their_weights():
    weights = np.array([4.0, *np.ones(6), 0.0, 3.0, 1.0, 1.0, 1.0])
    recipe = dataclasses.replace(
        FINETUNE, batch_size=8, head_epochs=0, shift=0.0, flip=False, magnitude=(0, 0), erase=0.0
    )
    data = of(Classes(["a", "b"], np.arange(12) % 2, weights))
    for mixup in (0.0, 0.4):
        (stage,) = dataclasses.replace(recipe, mixup=(mixup, mixup)).plan_stages(VARIANT, 8)
        batches = Batches(data, recipe, stage, 0, slice(None))
        batch = next(batches.from_step(0, 1))
        assert batch.targets.shape == (8, 2) and 0 <= batch.weights.min() < batch.weights.max() <= 3.2 + 1e-6
        is_own = np.isclose(batch.weights, weights[batches.rows(0)] / 1.25).all()
        assert is_own == (mixup == 0)  # a mixture has the weights of both
    goal = objective(data, recipe)
    found = goal.measure(goal.keep(np.array([[0.1, 0.9], [0.1, 0.9]], "f"), np.array([8, 9])), np.array([8, 9]))
    assert found["accuracy"] == 0.25  # of the two, the wrong one has three quarters of the weight


@pytest.mark.slow
def test_layers_behind_a_network_are_not_converted(tmp_path):
    from efficientnet.checkpoints.facts import Facts
    from efficientnet.export.convert import convert_weights
    from efficientnet.keras import create
    from efficientnet.keras_files.metadata import write_facts

    create("efficientnet-test", weights=None, classes=1).save(tmp_path / "model.keras")
    write_facts(tmp_path / "model.keras", Facts(targets="ordinal"))
    with pytest.raises(ValueError, match="probabilities of ordered classes by layers behind the network"):
        convert_weights(tmp_path / "model.keras", tmp_path / "model.safetensors")


def test_the_best_error_in_the_terminal_is_the_lowest():
    goal = objective(of(Ordinal(["low", "mid", "high"], np.arange(12) % 3)), FINETUNE)
    history = [{"val_mae": error, "val_loss": 1.0} for error in (2.0, 0.5, 1.0)]
    training = types.SimpleNamespace(objective=goal, state=types.SimpleNamespace(history=history))
    assert _Training.progress(training).startswith("best 0.5 ")
