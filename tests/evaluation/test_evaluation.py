"""Evaluation: its measures against scikit-learn and by hand, what it makes of data, and its images."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
from color_models import color_model
from PIL import Image

from efficientnet.evaluation import (
    Sample,
    calibrate,
    confusion_matrix,
    confusions,
    evaluate_predictor,
    find_samples,
    join,
    match_classes,
    measure,
    per_class,
    score,
    top_k,
    wilson,
    write_report,
)

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def random_outcomes(images=400, classes=7, sharpness=2.0):
    """Labels, probabilities that know something of them, and the outcomes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)) + sharpness * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities, score(probabilities, labels)


def of_confidence(confidence, is_correct):
    """Answers of a model of two classes."""
    confidence = np.array(confidence)
    return score(np.stack([confidence, 1 - confidence], axis=1), 1 - np.array(is_correct, int))


def paint(path, colour, size=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


@pytest.fixture(scope="module")
def predictor():
    """Tells which of red, green and blue a image is."""
    keras = pytest.importorskip("keras")
    from efficientnet.inference import compile

    with compile(color_model(keras, 6 * np.eye(3), 0), "keras", class_names=list(COLOURS), cache=False) as compiled:
        yield compiled


@pytest.fixture
def images(tmp_path):
    """Two images of each colour, and one of red that calls itself blue."""
    for name, colour in COLOURS.items():
        for index in range(2):
            paint(tmp_path / "data" / name / f"{index}.png", colour)
    paint(tmp_path / "data" / "blue" / "2.png", COLOURS["red"])
    return tmp_path / "data"


def test_a_score_by_hand():
    found = score([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]], [2, 1, -1])
    assert found.predicted.tolist() == [1, 0, 2]
    assert found.rank.tolist() == [2, 2, 0]  # of equal probabilities the first class comes first
    np.testing.assert_allclose(found.confidence, [0.5, 0.4, 0.8])
    np.testing.assert_allclose(found.likelihood, [0.3, 0.4, np.nan])
    np.testing.assert_allclose(found.brier, [0.04 + 0.25 + 0.49, 0.16 + 0.36 + 0.04, np.nan])


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([0.5, 0.5], [0, 1], r"shape \(2,\)"),
        ([[1.0]], [0], "at least 2 classes"),
        ([[0.5, 0.5]], [0, 1], r"shape \(1, 2\), labels \(2,\)"),
        ([[0.5, 0.5]], [2], "from 0 to 1, or -1"),
        ([[0.5, 0.5]], [0.5], "whole numbers"),
        ([[0.5, 0.5], [3.0, -1.0]], [0, 1], "1 of 2 images .* between -1 and 3 and sums to 2.* end in softmax"),
        ([[np.nan, 0.5]], [0], "NaN in its weights"),
    ],
)
def test_what_cannot_be_scored(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        score(probabilities, labels)


def test_measures_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, probabilities, outcomes = random_outcomes()
    found, predicted = measure(outcomes), probabilities.argmax(axis=1)
    assert found.images == 400
    assert 0.5 < found.top1.value < 0.9
    assert found.top1.value == pytest.approx(metrics.accuracy_score(labels, predicted))
    for k in (1, 2, 5):
        expected = metrics.top_k_accuracy_score(labels, probabilities, k=k)
        assert top_k(outcomes, k).value == pytest.approx(expected)
    assert found.top5 == top_k(outcomes, 5)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.negative_log_likelihood == pytest.approx(metrics.log_loss(labels, probabilities))
    assert found.brier_score == pytest.approx(np.square(probabilities - np.eye(7)[labels]).sum(axis=1).mean())
    assert found.confidence == pytest.approx(probabilities.max(axis=1).mean())

    each = per_class(outcomes)
    expected = metrics.precision_recall_fscore_support(labels, predicted)
    for got, column in zip((each.precision, each.recall, each.f1, each.images), expected, strict=True):
        np.testing.assert_allclose(got, column)
    matrix = metrics.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(confusion_matrix(outcomes)[:-1, :-1], matrix)
    assert sum(count for _, _, count in confusions(outcomes)) == 400
    assert all(matrix[label, prediction] == count for label, prediction, count in confusions(outcomes))


def test_the_average_precision_of_two_classes_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        # One decimal, so that images of both classes have the same output, which 1 - (1 - p) would not be.
        labels, second = np.append(rng.integers(0, 2, 30), 1), np.round(rng.random(31), 1)
        found = measure(score(np.stack([1 - second, second], axis=1), labels))
        assert found.average_precision == pytest.approx(metrics.average_precision_score(labels, second))


def test_measures_of_classes_that_are_missing_or_never_predicted():
    # Three classes: of the first two images, one found; the second never predicted; none of the third.
    outcomes = score([[0.9, 0.0, 0.1], [0.1, 0.0, 0.9], [0.8, 0.1, 0.1]], [0, 0, 1])
    each = per_class(outcomes)
    np.testing.assert_allclose(each.precision, [0.5, np.nan, 0.0])
    np.testing.assert_allclose(each.recall, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(each.f1, [0.5, 0.0, 0.0])
    found = measure(outcomes)
    assert found.balanced_accuracy == pytest.approx(0.25)
    assert found.macro_f1 == pytest.approx(0.25)
    assert found.top5 is None
    assert measure(score([[0.0, 1.0]], [0])).negative_log_likelihood == pytest.approx(87.34, abs=0.01)


@pytest.mark.parametrize("labels", [[], [0, -1]])
def test_no_measures_without_labels(labels):
    with pytest.raises(ValueError, match="a label for each"):
        measure(score(np.full((len(labels), 2), 0.5), labels))


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_published(successes, total, low, high):
    found = wilson(successes, total)
    assert found == pytest.approx((successes / total, low, high), abs=5e-5)
    mirrored = wilson(total - successes, total)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (2, 1), (-1, 3)])
def test_no_interval(successes, total):
    with pytest.raises(ValueError, match=r"successes|total"):
        wilson(successes, total)


def test_calibration_by_hand():
    # Of five bins, (0.4, 0.6] holds 0.55 and 0.6, (0.6, 0.8] holds 0.7 and 0.8, (0.8, 1] holds 0.9 and 1.
    outcomes = of_confidence([0.55, 0.6, 0.7, 0.8, 0.9, 1.0], [1, 0, 1, 1, 1, 0])
    found = calibrate(outcomes, "width", bins=5)
    assert found.counts.tolist() == [2, 2, 2]
    np.testing.assert_allclose(found.confidence, [0.575, 0.75, 0.95])
    np.testing.assert_allclose(found.accuracy, [0.5, 1.0, 0.5])
    assert found.error == pytest.approx((0.075 + 0.25 + 0.45) / 3)
    # Two bins of equal mass: the three least sure, and the three surest.
    halves = calibrate(outcomes, "mass", bins=2)
    assert halves.counts.tolist() == [3, 3]
    assert halves.error == pytest.approx((abs(2 / 3 - 1.85 / 3) + abs(2 / 3 - 0.9)) / 2)


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_calibration_does_not_depend_on_the_order(equal):
    confidence = np.repeat([0.6, 0.9, 1.0], [10, 5, 25])
    is_correct = np.arange(40) % 3 > 0
    order = np.random.default_rng(0).permutation(40)
    error = calibrate(of_confidence(confidence, is_correct), equal).error
    assert calibrate(of_confidence(confidence[order], is_correct[order]), equal).error == pytest.approx(error)


def test_a_model_that_knows_how_sure_to_be_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 100_000)
    honest = measure(of_confidence(confidence, rng.uniform(size=100_000) < confidence))
    boasting = measure(of_confidence(confidence, rng.uniform(size=100_000) < confidence - 0.2))
    for equal in ("by_width", "by_mass"):
        assert getattr(honest, equal).error < 0.01
        assert getattr(boasting, equal).error == pytest.approx(0.2, abs=0.01)


def test_batches_join_to_the_whole():
    labels, probabilities, whole = random_outcomes(50)
    joined = join([score(probabilities[part], labels[part]) for part in (slice(0, 20), slice(20, 21), slice(21, 50))])
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), value)


def test_the_others_in_a_confusion_matrix():
    labels, _, outcomes = random_outcomes()
    matrix = confusion_matrix(outcomes)
    part = confusion_matrix(outcomes, np.array([1, 4]))
    assert part[:2, :2].tolist() == matrix[np.ix_([1, 4], [1, 4])].tolist()
    assert part.sum() == 400
    assert part[0].sum() == (labels == 1).sum()


def test_images_in_folders(images):
    (images / ".hidden").mkdir()
    (images / "violet").mkdir()
    (images / "red" / "deeper" / "2024").mkdir(parents=True)
    shutil.copy(images / "red" / "0.png", images / "red" / "deeper" / "2024")
    (images / "README").touch()
    samples = find_samples(images)
    assert samples.found[0] == Sample(images / "blue" / "0.png", "blue")
    assert [sample.label for sample in samples.found] == ["blue"] * 3 + ["green"] * 2 + ["red"] * 3
    notes = " ".join(samples.notes)
    for words in ("1 hidden (.hidden)", "1 not readable as images (README)", "no images in violet: not counted"):
        assert words in notes


def test_a_table_of_images(tmp_path):
    (tmp_path / "set.csv").write_text(
        "\ufeffpath,weight,label\na.png,1,red\n b.png ,2, dark blue\na.png,3,red\n"
        "c.png,4,red\nc.png,5,blue\nd.png,6\n,7,red\n",
        encoding="utf-8",
    )
    samples = find_samples(tmp_path / "set.csv")
    assert samples.found == [Sample(tmp_path / "a.png", "red"), Sample(tmp_path / "b.png", "dark blue")]
    assert len(samples.notes) == 4
    told = " ".join(samples.notes)
    for words in (
        "line 4: a.png stands in line 2", "c.png is called red (line 5) and blue (line 6)", "line 7: the label",
        "line 8: the path",
    ):  # fmt: skip
        assert words in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no"),
        (b"file,class\na,b\n", "has the columns file, class: expected path and label"),
        (b"", "has the columns none"),
        (b"path,label\n,red\n", "holds no image with a class.*the path is missing"),
        (b"\xff\xfe\x00\x80", "not a CSV file in UTF-8"),
    ],
)
def test_no_table(tmp_path, content, message):
    if content is not None:
        (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_samples(tmp_path / "set.csv")


def test_names_of_classes():
    classes = [("0", "T-shirt/top"), ("1", "7"), ("2", "Ankle boot")]
    matched, notes = match_classes(["T-shirt_top", "7", "ankle-boot", "1", "Ankle boat", "+"], classes)
    assert matched == {"T-shirt_top": 0, "7": 1, "ankle-boot": 2}  # "1" is the name of none, and no number
    assert "Did you mean Ankle boot?" in notes[1]
    assert len(notes) == 3
    assert match_classes(["1", "class_0"], [("0", "class_0"), ("1", "class_1")])[0] == {"1": 1, "class_0": 0}


def test_imagenets_names_and_ids():
    from efficientnet.images.imagenet import class_names

    matched, notes = match_classes(["n02510455", "giant panda", "crane", "n02012849"], class_names())
    assert matched == {"n02510455": 388, "giant panda": 388, "n02012849": 134}
    assert notes == ["The class crane is several of the model's: use the ids n02012849 (crane), n03126707 (crane)."]


@pytest.mark.slow
def test_an_evaluation(predictor, images, tmp_path):
    found = evaluate_predictor(predictor, images, "mine")
    assert measure(found.labelled).top1.value == pytest.approx(6 / 7)
    assert found.notes == []
    (mistake,) = found.worst_mistakes()
    assert mistake.path == images / "blue" / "2.png"
    assert (mistake.label, mistake.predicted) == ("blue", "red")
    assert mistake.probability == pytest.approx(math.exp(6) / (math.exp(6) + 2), abs=1e-3)
    assert "| top-1" in found.text()
    assert "top-5" not in found.text()  # of three classes

    pytest.importorskip("matplotlib")
    write_report(found, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["top1"]["value"] == pytest.approx(6 / 7)
    assert written["confusions"] == [{"label": "blue", "predicted": "red", "images": 1}]
    tables = {}
    for name in ("predictions", "classes", "confusions"):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [row["rank_of_label"] for row in tables["predictions"]].count("1") == 6
    assert [row["class"] for row in tables["classes"]] == list(COLOURS)
    assert sum(int(row["images"]) for row in tables["confusions"]) == 7
    for name in ("confusion", "reliability", "mistakes"):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert image.width > 200
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<p>85.7% of 7 images are right.</p>" in page
    assert page.count("<picture>") == 3
    assert '<tr><th scope="row">blue</th><td>red</td><td>1</td></tr>' in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere

    assert "Without heat maps: they need the Keras model, write_report(found, folder, model)." in page

    mistake.path.unlink()
    write_report(evaluate_predictor(predictor, images), tmp_path / "out")
    assert not (tmp_path / "out" / "mistakes.png").exists()  # no longer true
    assert (tmp_path / "out" / "report.html").read_text().count("<picture>") == 2
    assert not list((tmp_path / "out").glob("*part-*"))


def test_bad_data_is_reported_and_the_rest_measured(predictor, images, tmp_path):
    paint(images / "green" / "one.png", COLOURS["green"], size=1)
    paint(images / "violet" / "0.png", (255, 0, 255))
    (images / "yellow").mkdir()
    paint(images / "Blue" / "0.png", COLOURS["blue"])
    paint(images / "red" / "1.jpg", COLOURS["red"], size=300)
    whole = (images / "red" / "1.jpg").read_bytes()
    (images / "red" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "green" / "Thumbs.db").write_text("no image")
    found = evaluate_predictor(predictor, images)
    assert {path.name for path, _ in found.unreadable} == {"1.jpg"}
    assert len(found.samples) == len(found.outcomes) == 10
    assert measure(found.labelled).images == 9
    told = " ".join(found.notes)
    assert "no images in yellow" in told
    assert "1 not readable as images (green/Thumbs.db)" in told
    assert "The class violet is not one of the model's 3. Its images are predicted, not measured." in told
    assert "The classes Blue and blue of the data are one of the model's, blue." in told
    violet = found.prediction(9)
    assert violet.label == "violet"
    assert violet.predicted in ("red", "blue")
    assert violet.rank_of_label is None
    assert "NaN" not in json.dumps(found.as_json())


@pytest.mark.slow
def test_one_class_alone(predictor, tmp_path):
    paint(tmp_path / "red" / "0.png", COLOURS["red"])
    found = evaluate_predictor(predictor, tmp_path)
    assert measure(found.labelled).top1.value == 1
    assert "No images of 2 of the model's 3 classes (green, blue)" in found.notes[0]
    assert "All images are of one class, red" in found.notes[1]
    pytest.importorskip("matplotlib")
    write_report(found, tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/0.png": b""}, "None of the 1 classes .* called cat, the model's red, green, blue"),
        ({"red/0.png": b"", "red/1.png": b"x"}, r"None of the images .* is empty"),
        ({}, "holds no image with a class"),
    ],
)
def test_nothing_to_measure(predictor, tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        evaluate_predictor(predictor, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "validation"}, "pass it as run"),
        ({"run": "nowhere"}, "There is no folder nowhere"),
        ({"threshold": 0.3}, "A threshold is for models with several sigmoids"),
        ({"as_logits": True}, "probabilities already"),
    ],
)
def test_options_that_would_have_no_effect(predictor, images, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate_predictor(predictor, images, **options)
