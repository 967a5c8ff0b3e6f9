"""Models of every kind of layer that legacy Keras saves open on Keras 3 with the same outputs, or are refused."""

import numpy as np
import pytest

PIXELS, STEPS, VECTOR = (8, 8, 3), (6, 4), (5,)


@pytest.fixture(scope="module")
def legacy(is_legacy, backend):
    if is_legacy or backend != "tensorflow":
        pytest.skip("opens files of legacy Keras on Keras 3 with TensorFlow, beside which it writes them")
    return pytest.importorskip("tf_keras")


def chain(*layers):
    return lambda k: k.Sequential([k.Input(layers[0]), *(layer(k) for layer in layers[1:])])


def function(shape, call):
    def build(k):
        x = k.Input(shape)
        return k.Model(x, call(k, x))

    return build


def body(k):
    x = k.Input(PIXELS)
    y = k.layers.BatchNormalization()(k.layers.Conv2D(4, 3)(x))
    return k.Model(x, k.layers.GlobalAveragePooling2D()(y), name="body")


def twice(k):
    inner = k.Sequential([k.layers.Dense(5)], name="inner")
    x = k.Input(VECTOR)
    return k.Model(x, [inner(inner(x)), inner(x)])


def states(k):
    x = k.Input(STEPS)
    _, h, c = k.layers.LSTM(3, return_state=True)(x)
    return k.Model(x, k.layers.LSTM(3)(x, initial_state=[h, c]))


MODELS = {
    "time_distributed": chain(STEPS, lambda k: k.layers.TimeDistributed(k.layers.Dense(3))),
    "video": chain((2, *PIXELS), lambda k: k.layers.TimeDistributed(body(k)), lambda k: k.layers.LSTM(3)),
    "gru": chain(STEPS, lambda k: k.layers.GRU(3, recurrent_activation="hard_sigmoid")),
    "simple_rnn": chain(STEPS, lambda k: k.layers.SimpleRNN(3)),
    "conv_lstm": chain((3, *PIXELS), lambda k: k.layers.ConvLSTM2D(2, 3)),
    "bidirectional": chain(STEPS, lambda k: k.layers.Bidirectional(k.layers.LSTM(3))),
    "cells": chain(STEPS, lambda k: k.layers.RNN([k.layers.LSTMCell(3), k.layers.GRUCell(2)])),
    "states": states,
    "augmentation": chain(
        PIXELS,
        lambda k: k.layers.RandomFlip(),
        lambda k: k.layers.RandomHeight(0.1),
        lambda k: k.layers.RandomZoom(0.1),
    ),
    "random_crop": chain(PIXELS, lambda k: k.layers.RandomCrop(4, 4)),
    "spatial_dropout": chain(PIXELS, lambda k: k.layers.SpatialDropout2D(0.2)),
    "attention": function(STEPS, lambda k, x: k.layers.MultiHeadAttention(2, 3)(query=x, value=x)),
    "two_axes": chain(PIXELS, lambda k: k.layers.LayerNormalization(axis=[1, 2]), lambda k: k.layers.Softmax([1, 2])),
    "hard_sigmoid": chain(VECTOR, lambda k: k.layers.Dense(3, activation="hard_sigmoid")),
    "thresholded": chain(VECTOR, lambda k: k.layers.ThresholdedReLU(0.3)),
    "slash": chain(VECTOR, lambda k: k.layers.Dense(3, name="head/dense")),
    "twice": twice,
    "arithmetic": function(PIXELS, lambda k, x: (1.0 - x / 255.0) * 2 + 1),
    "constants": function(PIXELS, lambda k, x: (x - np.array([0.1, 0.2, 0.3], "float32"))[..., ::-1]),
    "slices": function(PIXELS, lambda k, x: x[:, 1:3, ::-1]),
}


@pytest.mark.parametrize("container", ["h5", "keras"])
@pytest.mark.parametrize("kind", MODELS)
def test_same_outputs(eff, legacy, tmp_path, kind, container):
    if kind == "constants" and container == "keras":
        pytest.skip("legacy Keras cannot save an ellipsis so")
    rng = np.random.default_rng(0)
    model = MODELS[kind](legacy)
    model.set_weights([rng.uniform(0.1, 0.9, w.shape) if w.dtype.kind == "f" else w for w in model.get_weights()])
    x = rng.uniform(0, 1, (2, *model.input_shape[1:])).astype("float32")
    model.save(tmp_path / f"model.{container}")
    opened = eff.load_model(tmp_path / f"model.{container}")
    expected, outputs = model(x, training=False), opened(x, training=False)
    pairs = zip(expected, outputs, strict=True) if isinstance(expected, list) else [(expected, outputs)]
    for one, other in pairs:
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (chain(STEPS, lambda k: k.layers.LSTM(3, time_major=True)), "time_major=True"),
        (chain(STEPS, lambda k: k.layers.LocallyConnected1D(3, 2)), "LocallyConnected1D"),
        (function(PIXELS, lambda k, x: __import__("tensorflow").image.per_image_standardization(x)), "standardization"),
    ],
)
def test_what_keras_3_cannot_do_is_refused_by_name(eff, legacy, tmp_path, build, named):
    build(legacy).save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match=f"{named}.*TF_USE_LEGACY_KERAS=1"):
        eff.load_model(tmp_path / "model.h5")


@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_file_runs_only_where_asked_for(eff, keras, backend, tmp_path, nested):
    if backend == "openvino":
        pytest.skip("no layer that calls Python")
    layer = keras.layers.Lambda(lambda x: x * 2, output_shape=VECTOR)
    layers = [keras.Sequential([keras.Input(VECTOR), layer])] if nested else [layer]
    keras.Sequential([keras.Input(VECTOR), *layers]).save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match="safe_mode=False"):
        eff.load_model(tmp_path / "model.h5")
    opened = eff.load_model(tmp_path / "model.h5", safe_mode=False)
    assert np.asarray(
        keras.ops.convert_to_numpy(opened(np.ones((1, 5)))) if hasattr(keras, "ops") else opened(np.ones((1, 5)))
    ).tolist() == [[2.0] * 5]


def doubled(x):
    return x * 2


def test_a_named_function_that_is_not_in_the_file(eff, keras, is_legacy, tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input(VECTOR), keras.layers.Lambda(doubled, output_shape=VECTOR)]).save(path)
    # Legacy Keras writes the code of every function into the file, Keras 3 the name of this one.
    message = "would run Python code" if is_legacy else r"custom_objects=\{.doubled.: doubled\}"
    with pytest.raises(ValueError, match=message):
        eff.load_model(path)
    eff.load_model(path, custom_objects={"doubled": doubled}, safe_mode=not is_legacy)
