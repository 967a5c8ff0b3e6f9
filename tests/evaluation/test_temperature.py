"""Temperature scaling: the number that is found, and the model that is divided by it."""

import csv
import json
import re

import numpy as np
import pytest
from color_models import color_model
from PIL import Image

from efficientnet.checkpoints.facts import Facts
from efficientnet.cli.main import main
from efficientnet.evaluation import apply_temperature, fit_temperature, measure
from efficientnet.evaluation.temperature import as_pairs
from efficientnet.keras_files import metadata
from efficientnet.model_io.outputs import softmax

keras = pytest.importorskip("keras")

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4000, 5)) * 2
LABELS = (np.cumsum(softmax(LOGITS), axis=1) < RNG.random((4000, 1))).sum(axis=1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_known_scale_is_found(scale):
    found = fit_temperature(softmax(LOGITS * scale).astype(np.float32), LABELS)
    assert found.temperature == pytest.approx(scale * fit_temperature(softmax(LOGITS), LABELS).temperature, rel=1e-4)
    assert found.temperature == pytest.approx(scale, rel=0.05)  # the labels are drawn
    np.testing.assert_array_equal(found.before.predicted, found.after.predicted)
    np.testing.assert_array_equal(found.before.rank, found.after.rank)
    before, after = measure(found.before), measure(found.after)
    assert after.by_width.error < 0.02 and after.by_width.error <= before.by_width.error + 0.01
    assert after.negative_log_likelihood <= before.negative_log_likelihood + 1e-9


def test_it_is_the_minimum_that_scipy_finds():
    optimize = pytest.importorskip("scipy.optimize")
    rows = slice(0, 50)

    def likelihood(logarithm):
        found = np.log(softmax(LOGITS[rows] * 3 / np.exp(logarithm)))
        return -found[np.arange(50), LABELS[rows]].mean()

    expected = np.exp(optimize.minimize_scalar(likelihood, bounds=(-3, 5), options={"xatol": 1e-9}).x)
    assert fit_temperature(softmax(LOGITS[rows] * 3), LABELS[rows]).temperature == pytest.approx(expected, rel=1e-5)


def test_saturated_probabilities():
    """A probability of 0 has no logarithm, and the one beside a rounded 1 is not that of an infinite logit."""
    found = fit_temperature([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [0, 1, 1])
    assert np.isfinite(found.temperature) and found.after.confidence.max() < 0.7
    pairs = fit_temperature(*as_pairs(np.array([[1.0, 1.0, 1e-3]]), np.array([[True, False, False]])))
    assert pairs.temperature < 100


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], "in none of the 2 images another class is more probable"),
        ([[0.9, 0.1], [0.2, 0.8]], [1, 0], "no more probable than other classes"),
        ([[0.5, 0.5], [0.5, 0.5]], [1, 0], "in none of the 2 images another class is more probable"),
        ([[0.9, 0.1]], [-1], "-1 is none"),
        (np.zeros((0, 2)), np.zeros(0, int), "of 0 images"),
    ],
)
def test_where_no_temperature_is_the_best(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(probabilities, labels)


def network(*layers):
    return keras.Sequential([keras.layers.Input((3,)), *layers])


def dense(count, activation=None, **options):
    return keras.layers.Dense(count, activation, bias_initializer="normal", **options)


LAST = {
    "softmax": (dense(4, "softmax"),),
    "one sigmoid": (dense(1, "sigmoid"),),
    "no bias": (dense(4, "sigmoid", use_bias=False),),
    "a layer of its own": (dense(4), keras.layers.Dropout(0.2), keras.layers.Softmax()),
    "a converted one": (dense(4), keras.layers.Activation("softmax"), keras.layers.Activation("linear")),
    "within a model": (network(dense(8, "relu"), dense(4, "softmax")),),
}


@pytest.mark.parametrize("layers", LAST.values(), ids=LAST)
def test_the_outputs_are_those_of_divided_logits(layers):
    model = network(dense(3, "relu"), *(keras.models.clone_model(x) if hasattr(x, "layers") else x for x in layers))
    images = RNG.normal(size=(20, 3)).astype(np.float32) * 3
    before = model.predict(images, verbose=0).astype(np.float64)
    after = apply_temperature(model, 1.7).predict(images, verbose=0)
    is_softmax = before.shape[1] > 1 and np.allclose(before.sum(axis=1), 1, atol=1e-5)
    pairs = before if is_softmax else np.stack([1 - before, before])
    expected = softmax(np.log(pairs) / 1.7) if is_softmax else 1 / (1 + (pairs[0] / pairs[1]) ** (1 / 1.7))
    np.testing.assert_allclose(after, expected, atol=1e-6)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


SHARED = dense(3, "softmax")
REFUSED = {
    "a number": (dense(1),),
    "logits": (dense(4),),
    "ordinal": (dense(3, "sigmoid"), dense(4, "relu")),
    "normalised": (dense(4), keras.layers.BatchNormalization(), keras.layers.Softmax()),
    "two softmaxes": (dense(4, "softmax"), keras.layers.Softmax()),
    "a shared layer": (SHARED, SHARED),
    "a convolution": (keras.layers.Reshape((1, 1, 3)), keras.layers.Conv2D(4, 1, activation="softmax"),
                      keras.layers.Flatten()),
}  # fmt: skip


@pytest.mark.parametrize("layers", REFUSED.values(), ids=REFUSED)
def test_other_heads_are_refused(layers):
    x = inputs = keras.Input((3,))
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"cannot be calibrated by a temperature: .* ends otherwise"):
        apply_temperature(model, 2.0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.fixture
def photos(tmp_path):
    """Grey images and a table of what is said of them, some of it wrong."""
    for index in range(12):
        Image.new("L", (8, 8), 20 * index).save(tmp_path / f"{index}.png")
    said = ["dark", "light", "dark", "dark", "dark", "light", "dark", "light", "light", "light", "light", "dark"]
    rows = [f"{index}.png,{name}" for index, name in enumerate(said)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return tmp_path


def saved(folder, activation, factor, facts):
    """A model of how light an image is, too confident."""
    kernel, bias = np.array([[-3.0, 3.0]] * 3), np.array([4.0, -4.0])
    model = color_model(keras, factor * kernel, factor * bias, activation, size=8)
    model.save(folder / "model.keras")
    metadata.write_facts(folder / "model.keras", facts, {"name": "mine"})
    return str(folder / "model.keras")


def evaluate(capsys, *arguments, status=0):
    assert main(["evaluate", *map(str, arguments)]) == status
    return capsys.readouterr()


@pytest.mark.slow
def test_classes_are_calibrated_by_the_command(photos, capsys):
    facts = Facts(class_names=("dark", "light"), preprocessing="none", crop=0.9, targets="classes")
    path, data, target = saved(photos, "softmax", 2, facts), photos / "set.csv", photos / "new" / "calibrated.keras"
    out, err = evaluate(capsys, path, data, "--json", "--save-calibrated", target)
    found = json.loads(out)["temperature_scaling"]
    assert found["temperature"] > 1.5 and f"at the temperature {found['temperature']:.4g}" in err
    out, _ = evaluate(capsys, target, data, "--json")
    again = json.loads(out)
    assert again["temperature_scaling"]["temperature"] == pytest.approx(1, abs=1e-4)
    assert again["negative_log_likelihood"] == pytest.approx(found["after"]["negative_log_likelihood"], abs=1e-6)
    assert again["negative_log_likelihood"] < found["before"]["negative_log_likelihood"]
    assert metadata.read_class_names(target) == ["dark", "light"]
    assert (metadata.read_preprocessing(target), metadata.read_crop(target)) == ("none", 0.9)
    assert (metadata.read_targets(target), metadata.read_recipe(target)) == ("classes", {"name": "mine"})
    out, _ = evaluate(capsys, path, data)
    assert re.search(r"\| temperature scaling +\| +1 \| +\d", out)


@pytest.mark.slow
def test_labels_keep_their_decisions(photos, capsys):
    facts = Facts(class_names=("dark", "light"), targets="labels", thresholds=(0.2, 0.9))
    path, data, target = saved(photos, "sigmoid", 2, facts), photos / "set.csv", photos / "calibrated.keras"
    evaluate(capsys, path, data, "--out", photos / "before", "--save-calibrated", target)
    evaluate(capsys, target, data, "--out", photos / "after")
    tables = []
    for name in ("before", "after"):
        with (photos / name / "predictions.csv").open() as file:
            tables.append([row["predicted"] for row in csv.DictReader(file)])
    assert tables[0] == tables[1] and len(set(tables[0])) > 1
    low, high = metadata.read_thresholds(target)
    assert 0.2 < low < 0.5 < high < 0.9
    page = (photos / "before" / "report.html").read_text()
    assert "<h2>Calibration</h2>" in page and "--save-calibrated calibrated.keras" in page


@pytest.mark.parametrize(
    ("activation", "name", "message"),
    [
        ("softmax", "new.h5", "a name that ends in .keras"),
        ("softmax", "model.keras", "is the model to calibrate: give its calibrated copy another name"),
        ("relu", "new.keras", "cannot be calibrated by a temperature"),
        ("softmax", "set.csv/new.keras", "cannot be written"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_any_work(activation, name, message, photos, capsys, monkeypatch):
    path = saved(photos, activation, 1, Facts(class_names=("dark", "light")))
    monkeypatch.setattr("efficientnet.evaluation.evaluate_predictor", None)
    _, err = evaluate(capsys, path, photos / "set.csv", "--save-calibrated", photos / name, status=2)
    assert message in err


@pytest.mark.slow
def test_without_a_mistake_nothing_is_written(photos, capsys):
    (photos / "set.csv").write_text("path,label\n0.png,dark\n11.png,light\n")
    path = saved(photos, "softmax", 1, Facts(class_names=("dark", "light")))
    target, data, out = photos / "new.keras", photos / "set.csv", photos / "out"
    _, err = evaluate(capsys, path, data, "--out", out, "--save-calibrated", target, status=1)
    assert (
        "new.keras was not written: in none of the 2 images another class is more probable" in err
        and not target.exists()
    )
    assert (
        "No temperature scaling: in none of the 2 images another class is more probable"
        in (out / "report.html").read_text()
    )
