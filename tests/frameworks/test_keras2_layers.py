"""Models of every kind of layer that legacy Keras saves open on Keras 3 with the same outputs, or are refused."""

import os

import numpy as np
import pytest

from efficientnet.errors import CheckpointError
from efficientnet.keras_files import opening

pytestmark = pytest.mark.once_per_keras
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


@pytest.mark.slow
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
        (chain(PIXELS, lambda k: k.layers.Resizing(4, 4, interpolation="gaussian")), "interpolation='gaussian'"),
        (chain(PIXELS, lambda k: k.layers.UpSampling2D(2, interpolation="mitchellcubic")), "'mitchellcubic'"),
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
    with pytest.raises(ValueError, match=r"model.h5 would run Python code: its layer 'lambda\w*' .*safe_mode=False"):
        eff.load_model(tmp_path / "model.h5")
    opened = eff.load_model(tmp_path / "model.h5", safe_mode=False)
    assert np.asarray(
        keras.ops.convert_to_numpy(opened(np.ones((1, 5)))) if hasattr(keras, "ops") else opened(np.ones((1, 5)))
    ).tolist() == [[2.0] * 5]


@pytest.mark.parametrize("has_metadata", [True, False], ids=["keras_metadata.pb", "before TensorFlow 2.5"])
def test_code_in_a_folder_runs_only_where_asked_for(eff, keras, is_legacy, tmp_path, has_metadata):
    if not is_legacy:
        pytest.skip("Keras 3 opens no SavedModel folder")
    folder, ran = tmp_path / "model", str(tmp_path / "ran")
    keras.Sequential(
        [keras.Input(VECTOR), keras.layers.Lambda(lambda x: [x * 2, os.makedirs(ran, exist_ok=True)][0])]
    ).save(folder)
    if not has_metadata:
        move_metadata_into_graph(folder)
    os.rmdir(ran)
    with pytest.raises(ValueError, match=r"would run Python code.*safe_mode=False"):
        eff.load_model(folder)
    assert not os.path.exists(ran)
    assert eff.load_model(folder, safe_mode=False)(np.ones((1, 5))).numpy().tolist() == [[2.0] * 5]


def move_metadata_into_graph(folder):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    metadata, graph = folder / "keras_metadata.pb", folder / "saved_model.pb"
    saved = SavedModel.FromString(graph.read_bytes())
    for node in SavedMetadata.FromString(metadata.read_bytes()).nodes:
        user_object = saved.meta_graphs[0].object_graph_def.nodes[node.node_id].user_object
        user_object.identifier, user_object.metadata = node.identifier, node.metadata
        user_object.version.ParseFromString(node.version.SerializeToString())
    graph.write_bytes(saved.SerializeToString())
    metadata.unlink()


@pytest.fixture
def foreign_module(tmp_path, monkeypatch):
    """The name of a module that is there, and that ends the test run where something imports it."""
    (tmp_path / "foreign_module.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return "foreign_module"


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_class_of_a_foreign_module_is_not_imported(eff, keras, tmp_path, foreign_module, name):
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return x * 2

    Doubling.__module__ = foreign_module
    keras.Sequential([keras.Input(VECTOR), Doubling()]).save(tmp_path / name)
    with pytest.raises(ValueError, match="custom_objects"):
        eff.load_model(tmp_path / name)


def test_a_foreign_module_in_a_folder_is_not_imported(eff, keras, is_legacy, tmp_path, foreign_module):
    if not is_legacy:
        pytest.skip("Keras 3 opens no SavedModel folder")
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    keras.Sequential([keras.Input(VECTOR), keras.layers.Dense(1)]).save(tmp_path / "model")
    path = tmp_path / "model" / "keras_metadata.pb"
    metadata = SavedMetadata.FromString(path.read_bytes())
    for node in metadata.nodes:
        at = '"class_name": "GlorotUniform"'
        node.metadata = node.metadata.replace(at, f'"module": "{foreign_module}", {at}')
    path.write_bytes(metadata.SerializeToString())
    with pytest.raises(ValueError, match="imports the module 'foreign_module'"):
        eff.load_model(tmp_path / "model")


def test_a_damaged_folder_is_refused(eff, keras, is_legacy, tmp_path):
    if not is_legacy:
        pytest.skip("Keras 3 opens no SavedModel folder")
    keras.Sequential([keras.Input(VECTOR), keras.layers.Dense(1)]).save(tmp_path / "model")
    for name in ("keras_metadata.pb", "saved_model.pb"):
        (tmp_path / "model" / name).write_bytes(b"\xff" * 9)
        with pytest.raises((ValueError, OSError), match=name.partition(".")[0]):
            eff.load_model(tmp_path / "model")
        (tmp_path / "model" / name).unlink()


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


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_legacy_keras_refuses_files_of_keras_3_by_name(legacy, keras, tmp_path, suffix):
    path = tmp_path / f"new.{suffix}"
    keras.Sequential([keras.Input(VECTOR), keras.layers.Dense(2)]).save(path)
    with pytest.raises(CheckpointError, match=rf"new.{suffix} was saved by Keras 3.*open it with efficientnet.keras"):
        opening.load_model(path, layers=legacy.layers, models=legacy.models, utils=legacy.utils)
