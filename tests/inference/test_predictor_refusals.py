"""What a predictor refuses, and what it says of it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientnet.inference import compile

pytest.importorskip("openvino")
pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model(tiny, home):
    return tiny(weights=None, classes=5)


def test_calibration_images_are_for_int8_and_may_have_no_end(model):
    endless = itertools.repeat(np.zeros((64, 64, 3), np.uint8))
    for precision in ("f32", "bf16"):
        with pytest.raises(ValueError, match=f"calibration= is for precision='int8', not for '{precision}'"):
            compile(model, precision=precision, calibration=endless)
    with pytest.raises(ValueError, match="is OpenVINO's alone"):
        compile(model, "keras", precision="int8", calibration=endless)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([], "at least one image"),
        (np.zeros((0, 64, 64, 3), np.uint8), r"at least one image.*\(0, 64, 64, 3\)"),
        (np.zeros((64, 64, 3), np.uint8), r"image\[None\]"),
        (np.zeros((1, 32, 64, 3), np.uint8), r"\(batch, 64, 64, 3\)"),
        (np.full((1, 64, 64, 3), "a"), "numbers 0..255"),
        (np.stack([np.zeros((64, 64, 3), "f"), np.full((64, 64, 3), np.nan, "f")]), "image 1 of the batch has NaN"),
        (np.full((1, 64, 64, 3), -2.1, "f"), 'look preprocessed already.*preprocessing="none"'),
        ([np.zeros((0, 5, 3), np.uint8)], "at least one pixel"),
        ([np.zeros((5, 5, 5), np.uint8)], r"\(height, width, 3\)"),
        (np.full((1, 64, 64, 3), 0.9), 'look like 0..1. Pass them times 255.*preprocessing="none"'),
        (np.full((1, 64, 64, 3), 200, np.uint16), "If white is 255, pass it as uint8"),
        (np.full((1, 64, 64, 3), -5), "no level is below 0"),
        (np.full((1, 64, 64, 3), 255000.0), "black is 0 and white is 255"),
        ([np.full((70, 80, 3), 0.9)], 'look like 0..1. Pass them times 255.*preprocessing="none"'),
        ([np.full((70, 80, 3), 300)], "pass it as uint16"),
        (np.zeros((70, 80), np.uint8), r"\[image\]"),
        (Path("a.jpg"), r"predict\(\['a.jpg'\]\)"),
        (b"a" * 999, r"predict\(\[content\]\) for a content of 999 bytes"),
        (memoryview(b"a" * 999), r"predict\(\[content\]\)"),
        (Image.new("RGB", (70, 80)), r"list of images.*predict\(\[image\]\)"),
        (io.BytesIO(b"a"), r"predict\(\[image\]\)"),
        ([np.full((70, 70, 3), np.nan, "f")], "NaN"),
        ("a.jpg", "list of images"),
    ],
)
def test_bad_input(model, x, message):
    with compile(model) as predictor, pytest.raises(ValueError, match=message):
        predictor(x)


def test_a_single_image_is_no_stream(model, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    with compile(model) as predictor:
        for source in ("a.jpg", tmp_path / "image.png", Image.new("RGB", (70, 80))):
            with pytest.raises(ValueError, match="got a single one"):
                list(predictor.stream(source))
        with pytest.raises(ValueError, match="got a single one"):
            list(predictor.stream(pixels))
        assert "row of an image" in next(predictor.stream(list(pixels))).error
        assert len(list(predictor.stream(pixels[np.newaxis, ..., 0]))) == 1
        with pytest.raises(TypeError, match="got NoneType"):
            predictor(None)


def test_a_file_that_is_not_there(model):
    with compile(model) as predictor, pytest.raises(FileNotFoundError):
        predictor(["missing.jpg"])


def test_models_that_take_no_images_and_bad_options(model):
    import keras

    vectors = keras.Input((10,))
    with pytest.raises(ValueError, match=r"takes \(None, 10\).*images"):
        compile(keras.Model(vectors, keras.layers.Dense(2)(vectors)))
    for options, message in (
        ({"engine": "tpu"}, "engine='tpu': expected one of"),
        ({"precision": "f16"}, "precision='f16': expected one of"),
        ({"threads": 0}, "threads=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"crop": 1.5}, "crop=1.5"),
        ({"class_names": ["a"]}, "5 outputs but 1 class names"),
        ({"preprocessing": "caffe"}, "preprocessing mode='caffe'"),
    ):
        with pytest.raises(ValueError, match=message):
            compile(model, **options)
