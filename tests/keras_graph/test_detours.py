"""What engine a model gets: other people's networks go to OpenVINO and ONNX, and what does not is said aloud."""

import dataclasses
import logging
import sys

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.export import export
from efficientnet.inference import compile
from efficientnet.keras_graph import detours
from efficientnet.preprocessing import Scaling

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
efn = pytest.importorskip("efficientnet.keras")
layers, ops = keras.layers, keras.ops


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def pixels(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def body(**options):
    lite = dataclasses.replace(get_variant("lite0"), name="narrow", width=0.25, depth=0.4)
    return efn.create(lite, weights=None, input_shape=(64, 64, 3), **options)


def unet():
    """As users build them on the feature maps."""
    features = body(features_only=True)
    *skips, x = features.outputs
    for skip in reversed(skips):
        x = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()([x, skip])))
        x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    return keras.Model(features.input, layers.Conv2D(1, 1, activation="sigmoid")(x))


def fine_tuned():
    """As keras.io's guide to fine-tuning an EfficientNet has it."""
    inputs = keras.Input((64, 64, 3))
    x = inputs
    for layer in (
        layers.RandomRotation(0.15), layers.RandomTranslation(0.1, 0.1), layers.RandomFlip(), layers.RandomContrast(0.1)
    ):  # fmt: skip
        x = layer(x)
    x = keras.applications.EfficientNetB0(include_top=False, input_tensor=x, weights=None).output
    x = layers.BatchNormalization()(layers.GlobalAveragePooling2D(name="avg_pool")(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(layers.Dropout(0.2)(x)))


def of_keras():
    return keras.applications.EfficientNetV2B0(
        weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
    )


def two_pools():
    x = body(include_top=False)
    both = layers.Concatenate()([ops.mean(x.output, axis=(1, 2)), layers.GlobalMaxPooling2D()(x.output)])
    return keras.Model(x.input, layers.Dense(3, activation="gelu")(both))


MODELS = {
    "U-Net": unet,
    "fine-tuned": fine_tuned,
    "EfficientNetV2B0": of_keras,
    "two pools": two_pools,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_networks_of_others(name, caplog):
    model = MODELS[name]()
    x = pixels(3, 64, 64, 3)
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    for engine in ("auto", "onnxruntime"):
        with compile(model, engine, preprocessing="none", cache=False) as predictor:
            assert predictor.engine == ("openvino" if engine == "auto" else engine)
            np.testing.assert_allclose(predictor(x), expected, atol=2e-5 * max(1, np.abs(expected).max()))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def odd_model():
    """With a layer that has no form of ours."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Reshape((16, 3))(layers.Conv2D(3, 3, padding="same", activation="relu")(inputs))
    outputs = layers.Dense(2, name="last")(layers.LSTM(4, name="memory")(x)), layers.Dense(2, name="first")(x)
    return keras.Model(inputs, outputs)


class Mine(layers.Layer):
    """A layer of a user's own."""

    def call(self, x):
        return ops.cumsum(x, axis=1)


@pytest.mark.slow
def test_a_layer_without_a_form_goes_through_tensorflow(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setitem(sys.modules, "openvino.tools.ovc", None)  # as the command starts
    model = odd_model()
    x = pixels(3, 4, 4, 3)
    expected = [keras.ops.convert_to_numpy(y) for y in model(x * np.float32([0.1, 0.2, 0.3]) + 1, training=False)]
    scaling = Scaling((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    with compile(model, preprocessing=scaling, cache=False) as predictor:
        assert predictor.engine == "openvino"
        for ours, theirs in zip(predictor(x), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert export(model, tmp_path / "odd.xml", "openvino").difference < 1e-4


def test_such_a_layer_goes_to_onnx_by_tf2onnx(tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("tensorflow")
    assert export(odd_model(), tmp_path / "odd.onnx", "onnx").difference < 1e-4


def test_what_neither_way_can_be_converted_is_said(tmp_path, caplog, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Mine(name="own")(inputs))

    def fail(*args):
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr(detours, "write_with_tensorflow", fail)
    with caplog.at_level(logging.WARNING, "efficientnet"):
        predictor = compile(model, preprocessing="none", cache=False)
    assert predictor.engine == "keras"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(text.startswith("openvino cannot run this model") and "'own', a Mine" in text for text in warnings)
    with pytest.raises(ValueError, match=r"'own', a Mine, has no ONNX form here \(and .*no such operation\)"):
        export(model, tmp_path / "own.xml", "openvino")
    assert list(tmp_path.iterdir()) == []


def test_what_is_converted_wrongly_is_not_used(monkeypatch):
    pytest.importorskip("tensorflow")
    wrong = keras.Model(*(lambda x: (x, x * 2))(keras.Input((8, 8, 3))))
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Mine(name="own")(inputs))
    monkeypatch.setattr(detours, "write_with_tensorflow", lambda *args: None)
    monkeypatch.setattr(detours, "_by_openvino", lambda *args: detours.openvino_graph.convert(wrong))
    with pytest.raises(ValueError, match=r"'own', a Mine.*predicts otherwise than Keras"):
        detours.openvino_of(model)
