"""The layers that people put around a network predict in ONNX as in Keras, on every backend."""

import numpy as np
import pytest

from efficientnet.keras_graph import onnx


def test_a_model_of_many_layers(keras, backend, is_legacy):
    ort = pytest.importorskip("onnxruntime")
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO lacks some of these layers")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = layers.Input((16, 12, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip()(inputs))
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5])(layers.Resizing(18, 10)(x))
    x = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="gelu")(x)
    pooled = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(3, 2, padding="same")(x)])
    up = layers.UpSampling2D(2, interpolation="bilinear")(layers.LayerNormalization()(pooled))
    x = layers.Add()([up, layers.Conv2DTranspose(12, 3, strides=2, padding="same", activation="silu")(pooled)])
    x = layers.GlobalAveragePooling2D()(x) if is_legacy else keras.ops.mean(x, axis=(1, 2))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Dropout(0.5)(x)))
    pixels = np.random.default_rng(0).normal(size=(3, 16, 12, 3)).astype("float32")
    session = ort.InferenceSession(onnx.convert(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: pixels})
    expected = model.predict_on_batch(pixels)
    assert np.ptp(expected, axis=0).max() > 1e-3  # so that a difference would show
    np.testing.assert_allclose(found, expected, atol=1e-5)
