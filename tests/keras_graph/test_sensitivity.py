"""The layers that 8 bits harm most."""

import numpy as np
import pytest

from efficientnet.keras_graph.sensitivity import by_sensitivity

keras = pytest.importorskip("keras")


def with_a_sensitive_layer():
    """A network whose layer ``sensitive`` gets one channel a thousand times as large as the others, and undoes that."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="growing")(x)
    y = keras.layers.Conv2D(8, 1, name="sensitive")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    x = keras.layers.Add(name="sum")([y, keras.layers.Conv2D(8, 1, name="beside")(x)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="head")(x), name="planted")
    for name, factor, channel in (("growing", 1000, (..., 0)), ("sensitive", 1 / 1000, (..., 0, slice(None)))):
        weights = model.get_layer(name).get_weights()
        weights[0][channel] *= factor
        model.get_layer(name).set_weights(weights)
    beside = model.get_layer("beside")
    kernel, bias = beside.get_weights()
    kernel[..., 0, :] = 0
    beside.set_weights([kernel, bias])
    head = model.get_layer("head")
    head.set_weights([10 * value for value in head.get_weights()])
    return model


def test_the_planted_layer_comes_first():
    model = with_a_sensitive_layer()
    before = model.get_weights()
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    order = by_sensitivity(model, images)
    assert {*order[:2]} == {"sensitive", "beside"}  # which take the same input
    assert sorted(order) == ["beside", "depthwise", "first", "growing", "head", "sensitive", "sum"]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
