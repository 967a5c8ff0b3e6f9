"""The ONNX graph outputs as the model it was written from."""

import builtins
import dataclasses

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.errors import UnsupportedLayerError
from efficientnet.keras_graph import onnx as onnx_graph

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
keras = pytest.importorskip("keras")
efn = pytest.importorskip("efficientnet.keras")
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def with_statistics(model):
    """Gives each batch norm something to do."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([value + rng.uniform(-0.2, 0.2, value.shape) for value in layer.get_weights()])
    return model


def check(model, *inputs, batch="dynamic"):
    """Compares plain ONNX Runtime with Keras, and returns the ONNX model."""
    written = onnx_graph.convert(model, batch)
    onnx.checker.check_model(written, full_check=True)
    session = ort.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, inputs, strict=True)))
    expected = model.predict_on_batch(inputs[0] if len(inputs) == 1 else list(inputs))
    expected = expected if isinstance(expected, list) else [expected]
    for run_batch, reference in zip(outputs, expected, strict=True):
        reference = np.asarray(reference)
        assert run_batch.shape == reference.shape
        assert np.abs(run_batch - reference).max() <= 1e-4 * max(1, np.abs(reference).max())
    return written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b0", {"classes": 5, "classifier_activation": None}),
        ("lite0", {"include_preprocessing": True, "padding": "symmetric", "classes": 5}),
        ("v2-b0", {"features_only": True}),
        ("condconv-b0-4e", {"classes": 5, "classifier_activation": None}),
        ("edgetpu-s", {"include_top": False, "pooling": "max"}),
    ],
)
def test_every_family(name, options):
    short = dataclasses.replace(get_variant(name), name="short", width=0.25, depth=0.4)
    model = with_statistics(efn.create(short, weights=None, input_shape=(64, 48, 3), **options))
    check(model, noise(2, 64, 48, 3))


@pytest.mark.slow
def test_any_size_and_batch():
    model = efn.EfficientNetLite0(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
    session = ort.InferenceSession(onnx_graph.convert(model).SerializeToString())
    for shape in ((1, 32, 32, 3), (3, 47, 65, 3)):
        (run_batch,) = session.run(None, {session.get_inputs()[0].name: noise(*shape)})
        np.testing.assert_allclose(run_batch, model.predict_on_batch(noise(*shape)), atol=1e-4)


@pytest.mark.slow
def test_a_fixed_batch():
    model = efn.EfficientNetLite0(weights=None, input_shape=(32, 32, 3), classes=5)
    written = check(model, noise(3, 32, 32, 3), batch=3)
    for tensor in (*written.graph.input, *written.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_value == 3


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_custom_heads(data_format):
    layers = keras.layers
    is_last = data_format == "channels_last"
    inputs = layers.Input((6, 9, 4) if is_last else (4, 6, 9), name="left")
    more = layers.Input((7,), name="right")
    x = layers.ZeroPadding2D(((1, 0), (2, 1)), data_format=data_format)(inputs)
    x = layers.BatchNormalization(axis=2)(layers.BatchNormalization(axis=-1)(x))
    x = layers.Dense(4, activation="relu")(x)
    x = layers.Rescaling([1.0, 2.0, 3.0, 4.0], 1.0)(x)
    x = layers.Activation("softmax")(x)
    maximum = layers.GlobalMaxPooling2D(keepdims=True, data_format=data_format)(x)
    vectors = layers.Reshape((-1, 4))(layers.Add()([x, maximum]))
    vectors = layers.Dense(7, activation="tanh")(layers.BatchNormalization()(vectors))
    mixed = layers.Dot(axes=(2, 1))([vectors, layers.Dense(7, activation="silu")(more)])
    flat = layers.Flatten(data_format=data_format)(layers.Dropout(0.5)(x))
    model = with_statistics(keras.Model([inputs, more], [layers.Dense(3, name="probs")(flat), mixed, x, x]))
    written = check(model, noise(2, *inputs.shape[1:]), noise(2, 7))
    assert [tensor.name for tensor in written.graph.input] == ["left", "right"]
    assert len({tensor.name for tensor in written.graph.output}) == 4


@pytest.mark.parametrize("options", [{"groups": 2}, {"dilation_rate": 2}, {"strides": 2, "kernel_size": 4}])
def test_convolutions(options):
    inputs = keras.layers.Input((9, 8, 4))
    x = keras.layers.Conv2D(6, **{"kernel_size": 3, "padding": "same", "activation": "sigmoid", **options})(inputs)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="ones")(x)
    check(keras.Model(inputs, x), noise(2, 9, 8, 4))


def test_a_layer_called_twice_in_a_model_within_the_model():
    inner = keras.Input((8, 8, 3))
    body = keras.Model(inner, keras.layers.Conv2D(3, 3, padding="same", name="conv")(inner), name="body")
    inputs = keras.Input((8, 8, 3))
    written = check(keras.Model(inputs, body(body(inputs))), noise(2, 8, 8, 3))
    names = [node.name for node in written.graph.node]
    assert "body/conv:Conv" in names
    assert len(set(names)) == len(names)


def test_what_cannot_be_written():
    inputs = keras.layers.Input((8, 8, 3))
    dense = keras.layers.Dense(8, name="adapted")
    for layer, problem in (
        (
            keras.layers.UpSampling2D(2, interpolation="lanczos3", name="enlarge"),
            "'enlarge', a UpSampling2D, .*'lanczos3'",
        ),
        (keras.layers.Activation(lambda x: x + 1, name="odd"), "'odd', a Activation, has the activation '<lambda>'"),
        (keras.layers.MultiHeadAttention(2, 2, name="look"), "'look', a MultiHeadAttention, has no ONNX form"),
        (dense, r"'adapted', a Dense, has weights of an unusual kind \(.*lora"),
    ):
        two = isinstance(layer, keras.layers.MultiHeadAttention)
        model = keras.Model(inputs, layer(inputs, inputs) if two else layer(inputs))
        if layer is dense:
            dense.enable_lora(1)
        with pytest.raises(onnx_graph.UnsupportedLayerError, match=problem):
            onnx_graph.convert(model)
    with pytest.raises(ValueError, match="a Argmax, gives other numbers than floats"):
        onnx_graph.convert(keras.Model(inputs, keras.ops.argmax(inputs, axis=-1)))
    with pytest.raises(ValueError, match="called in a way that has no ONNX form here"):
        onnx_graph.convert(keras.Model(inputs, keras.ops.normalize(inputs, order=1)))


def test_what_has_the_name_of_a_function_of_keras_is_not_taken_for_it():
    def relu(x):
        return x * 5

    inputs = keras.layers.Input((8, 8, 3))
    with pytest.raises(ValueError, match="has the activation 'relu'"):
        onnx_graph.convert(keras.Model(inputs, keras.layers.Activation(relu)(inputs)))


def test_without_the_package_onnx(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"efficientnet\[onnx\]"):
        onnx_graph.convert(None)


def test_more_weights_than_a_graph_holds(monkeypatch):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(32)(inputs), name="huge")
    monkeypatch.setattr(onnx_graph, "_MOST_BYTES", 4 * model.count_params())
    with pytest.raises(UnsupportedLayerError, match=r"huge has .* GiB of weights in float32, .* holds less than 2 GiB"):
        onnx_graph.convert(model)


def test_what_runtimes_compute_slowly_is_not_there(tiny):
    """Scaling of channels that are last goes three numbers at a time; a vector between two convolutions is copied."""
    graph = onnx_graph.convert(tiny(weights=None, classes=5, include_preprocessing=True)).graph
    shapes = {constant.name: list(constant.dims) for constant in graph.initializer}
    scaling = [node for node in graph.node if node.name.startswith("rescaling:") and node.op_type in ("Mul", "Add")]
    assert [shapes[node.input[1]] for node in scaling] == [[1, 3, 1, 1]] * 2
    flattened = [node.name for node in graph.node if node.op_type in ("Flatten", "Reshape")]
    assert flattened == ["avg_pool:Flatten"]
    used = {name for node in graph.node for name in node.input}
    assert used >= shapes.keys()
