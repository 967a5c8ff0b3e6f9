"""The figures of an evaluation: what is written fits its place, and each image is opened once."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from efficientnet.evaluation import Evaluation, ImagePrediction, Sample, figures, score, write_report
from efficientnet.evaluation.page import draw_figures


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 10, 30, 31, 1000])
def test_a_confusion_matrix_that_can_be_read(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 3000)
    logits = rng.normal(size=(3000, classes)) + 3 * np.eye(classes)[labels]
    outcomes = score(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels)
    figure = figures.draw_confusion(outcomes, [f"a class with a long name, $n^{index}$" for index in range(classes)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = axes.get_yticklabels()
    assert len(labels) == (classes if classes <= 30 else 31)
    boxes = [label.get_window_extent() for label in labels]
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    assert min(label.get_window_extent().y0 for label in axes.get_xticklabels()) >= 0
    cell = abs(axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0])
    assert max(text.get_window_extent().width for text in axes.texts) < cell
    counts = sum(int(text.get_text()) for text in axes.texts)
    assert counts == 3000 if classes <= 30 else 0 < counts < 3000


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """A square image, and one that is wide and flat."""
    found = [tmp_path / "square.png", tmp_path / "wide.png"]
    for path, size in zip(found, ((20, 20), (300, 2)), strict=True):
        Image.new("RGB", size, (255, 0, 0)).save(path)
    return found


@pytest.mark.parametrize("has_maps", [False, True])
def test_captions_stay_below_their_images(paths, has_maps):
    predictions = [
        ImagePrediction(path, "a label of many words " * 3, "$x_1$ " * 9, 1.0, 0.05, 2) for path in paths * 3
    ]
    thumbnails = [figures.load_thumbnail(path) for path in paths * 3]
    figure = figures.draw_mistakes(predictions, thumbnails, maps=thumbnails if has_maps else ())
    figure.draw_without_rendering()
    assert len(figure.axes) == (12 if has_maps else 6)
    if has_maps:
        for axes, beside in zip(figure.axes[::2], figure.axes[1::2], strict=True):
            assert beside.get_window_extent().x0 > axes.get_window_extent().x1
            assert beside.get_window_extent().y0 == pytest.approx(axes.get_window_extent().y0)
            figure.delaxes(beside)
    for axes in figure.axes:
        image = axes.get_window_extent()
        assert image.width == pytest.approx(180)
        boxes = [text.get_window_extent() for text in axes.texts]
        assert max(box.y1 for box in boxes) <= image.y0
        assert min(box.y0 for box in boxes) >= 0
        assert boxes[0].width + boxes[1].width < image.width
        assert boxes[2].width + boxes[3].width < image.width
        assert max(box.y1 for box in boxes[2:4]) <= min(box.y0 for box in boxes[:2])


def test_images_stand_in_the_middle_of_their_squares(paths):
    prediction = ImagePrediction(paths[1], "a", "b", 1.0, 0.05, 2)
    (axes,) = figures.draw_mistakes([prediction], [figures.load_thumbnail(paths[1])]).axes
    left, right, bottom, top = axes.images[0].get_extent()
    assert (left, right) == (0, 1)
    assert (bottom + top) / 2 == pytest.approx(0.5)
    assert top - bottom < 0.01


@pytest.mark.slow
def test_both_themes_take_one_opening_of_each_mistake(paths, monkeypatch):
    opened = []
    load = figures.load_image
    monkeypatch.setattr(figures, "load_image", lambda path, **options: opened.append(path) or load(path, **options))
    outcomes = score([[0.1, 0.9], [0.2, 0.8]], [0, 0])
    samples = [Sample(path, "a") for path in paths]
    drawn = draw_figures(Evaluation("mine", "photos", ["a", "b"], samples, outcomes, unreadable=[], notes=[]))
    assert {"mistakes-light.png", "mistakes-dark.png"} < drawn.keys()
    assert opened == paths


@pytest.mark.slow
def test_heat_maps_of_mistakes_or_why_there_are_none(paths, tmp_path):
    keras = pytest.importorskip("keras")
    outcomes = score([[0.1, 0.9], [0.2, 0.8]], [0, 0])
    samples = [Sample(path, "a") for path in paths]
    found = Evaluation("mine", "photos", ["a", "b"], samples, outcomes, unreadable=[], notes=[])
    image = keras.Input((8, 8, 3))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    for name, pooled, text in (
        ("mean", keras.layers.GlobalAveragePooling2D()(scaled), "Beside each image is its heat map"),
        ("flat", keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D(keepdims=True)(image)), "such layer"),
    ):
        model = keras.Model(image, keras.layers.Dense(2, "softmax")(pooled), name=name)
        write_report(found, tmp_path / name, model)
        page = (tmp_path / name / "report.html").read_text()
        assert text in page
        assert ("Without heat maps: " in page) == (name == "flat")
        with Image.open(tmp_path / name / "mistakes.png") as drawn:
            assert drawn.width == (1560 if name == "mean" else 780)
