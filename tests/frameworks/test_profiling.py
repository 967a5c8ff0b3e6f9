"""What a model costs, against numbers worked by hand and against the table's own counting."""

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.family import costs
from efficientnet.keras_graph.profile import block_of, measure, profile

pytestmark = pytest.mark.once_per_keras


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b0", "lite0"])
def test_the_same_as_counted_from_the_blocks(eff, name):
    variant = get_variant(name)
    found = profile(eff.create(name, weights=None, input_shape=(64, 64, 3)))
    cost = costs.cost(variant, resolution=64)
    assert (found.parameters, found.macs, found.activations) == (cost.parameters, cost.macs, cost.activations)
    assert not found.uncounted
    assert found.name == variant.name


def test_by_layer_and_by_block(tiny):
    found = profile(tiny(weights=None, classes=7), batch_size=5)
    layers = {layer.name: layer for layer in found.layers}
    stem = layers["stem_conv"]
    assert (stem.kind, stem.output_shape, stem.parameters) == ("Conv2D", (32, 32, 16), 3 * 3 * 3 * 16)
    assert stem.macs == 27 * 16 * 32 * 32
    assert stem.activations == 32 * 32 * 16
    assert stem.output_bytes == layers["stem_bn"].output_bytes == 5 * 32 * 32 * 16 * 4
    assert layers["stem_bn"].parameters == 2 * 16
    assert layers["stem_bn"].macs == layers["stem_bn"].activations == 0
    blocks = {block.name: block for block in found.blocks()}
    assert list(blocks)[:3] == ["stem", "block1a", "block2a"]
    for total in ("parameters", "macs", "activations", "output_bytes"):
        assert sum(getattr(block, total) for block in blocks.values()) == getattr(found, total)
    assert blocks["probs"].macs == layers["probs"].macs == 640 * 7


def test_frozen_layers_cost_as_much(tiny):
    model = tiny(weights=None)
    expected = profile(model).parameters
    model.trainable = False
    assert profile(model).parameters == expected


# Layer, input's shape, numbers in the kernels, in the biases, and positions that each kernel is applied at.
LAYERS = [
    (lambda layers: layers.Conv2D(8, 3, padding="same", groups=2), (6, 6, 4), 9 * 2 * 8, 8, 36),
    (lambda layers: layers.Conv2D(8, 3, padding="same", dilation_rate=2, use_bias=False), (6, 6, 4), 9 * 4 * 8, 0, 36),
    (lambda layers: layers.Conv2D(8, (1, 5), strides=(1, 2), padding="valid"), (6, 9, 4), 5 * 4 * 8, 8, 6 * 3),
    (lambda layers: layers.Conv1D(8, 3, strides=2, padding="same"), (10, 4), 3 * 4 * 8, 8, 5),
    (lambda layers: layers.Conv3D(2, 2), (4, 4, 4, 3), 8 * 3 * 2, 2, 27),
    (lambda layers: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (6, 6, 4), 9 * 4 * 2, 8, 36),
    (lambda layers: layers.Dense(8), (5, 4), 4 * 8, 8, 5),
]


@pytest.mark.parametrize("index", range(len(LAYERS)))
def test_one_layer(keras, backend, index):
    make, shape, kernel, bias, positions = LAYERS[index]
    inputs = keras.layers.Input(shape)
    found = profile(keras.models.Model(inputs, make(keras.layers)(inputs)))
    assert (found.parameters, found.macs) == (kernel + bias, kernel * positions)


def test_transposed_and_separable_convolutions(keras):
    inputs = keras.layers.Input((5, 5, 4))
    transposed = profile(keras.models.Model(inputs, keras.layers.Conv2DTranspose(6, 3, strides=2)(inputs)))
    assert transposed.macs == 9 * 4 * 6 * 25  # each number of the input goes through the whole kernel
    separable = profile(keras.models.Model(inputs, keras.layers.SeparableConv2D(6, 3, padding="same")(inputs)))
    # Keras names its depthwise kernel like that of a depthwise convolution.
    assert separable.macs == (9 * 4 + 4 * 6) * 25
    assert separable.parameters == 9 * 4 + 4 * 6 + 6


def test_a_layer_that_is_called_twice_counts_twice_and_has_its_parameters_once(keras):
    inputs = keras.layers.Input((4,))
    dense = keras.layers.Dense(4, use_bias=False)
    found = profile(keras.models.Model(inputs, dense(dense(inputs))))
    assert (found.parameters, found.macs) == (16, 32)


def test_models_within_the_model(keras, tiny):
    body = tiny(weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3))
    inputs = keras.layers.Input((64, 64, 3))
    outputs = keras.layers.Dense(3, use_bias=False)(body(inputs))
    alone, found = profile(body), profile(keras.models.Model(inputs, outputs))
    assert found.macs == alone.macs + 640 * 3
    assert found.parameters == alone.parameters + 640 * 3
    sequential = keras.models.Sequential([keras.layers.Input((8,)), keras.layers.Dense(2)])
    assert profile(sequential).macs == 16


def test_layers_of_another_kind_are_named(keras):
    class Dense(keras.layers.Layer):
        """Goes by the name of a layer that could be counted."""

        def call(self, x):
            return x

    inputs = keras.layers.Input((4,))
    found = profile(keras.models.Model(inputs, keras.layers.Dense(2)(Dense(name="mine")(inputs))))
    assert [(layer.name, layer.macs) for layer in found.uncounted] == [("mine", None)]
    assert found.macs == 8
    assert [block.macs for block in found.blocks()] == [None, 8]


def test_a_body_of_any_size_counts_at_the_size_of_each_call(keras):
    layers = keras.layers
    inputs = layers.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same", name="conv")(inputs))
    body = keras.models.Model(inputs, pooled, name="body")
    large, small = layers.Input((16, 16, 3)), layers.Input((8, 8, 3))
    found = profile(keras.models.Model([large, small], layers.Add()([body(large), body(small)])))
    calls = [layer for layer in found.layers if layer.name == "body/conv"]
    assert {layer.macs for layer in calls} == {27 * 4 * 16 * 16, 27 * 4 * 8 * 8}
    assert sorted(layer.parameters for layer in calls) == [0, 27 * 4 + 4]
    unknown = layers.Input((None, None, 3))
    found = profile(keras.models.Model(unknown, body(unknown)), batch_size=2, input_shape=(16, 16, 3))
    assert found.macs == 27 * 4 * 16 * 16
    assert found.layers[0].output_bytes == 2 * 4 * 16 * 16 * 4
    assert found.blocks()[0].name == "body/conv"


def test_elementwise_functions_are_counted_and_products_are_named(keras, is_legacy):
    inputs = keras.layers.Input((4, 4, 3))
    if is_legacy:
        import tensorflow as tf

        product = tf.matmul(tf.nn.relu(inputs)[:, :2] * 2 + 1, tf.ones((3, 5)))
    else:
        product = keras.ops.matmul(keras.ops.relu(inputs)[:, :2] * 2 + 1, np.ones((3, 5), "float32"))
    found = profile(keras.models.Model(inputs, product))
    assert len(found.layers) >= 4
    assert ["matmul" in layer.name for layer in found.uncounted] == [True]


def test_statistics_of_the_data_are_no_parameters(keras):
    inputs = keras.layers.Input((8, 8, 3))
    outputs = keras.layers.RandomFlip()(keras.layers.Normalization()(inputs))
    found = profile(keras.models.Model(inputs, outputs))
    assert (found.parameters, found.uncounted) == (0, ())


def test_custom_layers_and_models_that_hold_layers_are_named(keras):
    class Holder(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.layers = [keras.layers.Dense(3)]

        def call(self, x):
            return self.layers[0](x)

    class Inner(keras.models.Model):
        def __init__(self):
            super().__init__(name="inner")
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    for layer in (Holder(name="holder"), Inner()):
        inputs = keras.layers.Input((3,))
        found = profile(keras.models.Model(inputs, layer(inputs)))
        assert [unknown.name for unknown in found.uncounted] == [layer.name]
        assert found.parameters == 12


def test_any_size_needs_a_size(eff, tiny):
    model = tiny(weights=None, include_top=False, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"pass input_shape="):
        profile(model)
    fixed = tiny(weights=None, include_top=False, input_shape=(96, 64, 3))
    assert profile(model, input_shape=(96, 64, 3)).macs == profile(fixed).macs
    with pytest.raises(ValueError, match=r"input_shape=\(32, 32, 3\): expected what tiny takes, \(96, 64, 3\)"):
        profile(fixed, input_shape=(32, 32, 3))


def test_what_cannot_be_profiled(keras, tiny):
    class Subclassed(keras.models.Model):
        pass

    with pytest.raises(ValueError, match="Subclassed, has no graph of layers: expected a functional model"):
        profile(Subclassed())
    with pytest.raises(ValueError, match="Sequential, has no graph of layers"):
        profile(keras.models.Sequential([keras.layers.Dense(2)]), input_shape=(4,))
    with pytest.raises(ValueError, match="batch_size=0"):
        profile(tiny(weights=None), batch_size=0)


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("block2a_dwconv", "block2a"), ("block2aa_se_reduce", "block2aa"), ("stem_conv", "stem"), ("probs", "probs"),
        ("conv2_block1_1_bn", "conv2_block1"), ("block_12_expand", "block_12"), ("stage1_block2_add", "stage1_block2"),
        ("conv_dw_1_relu", "conv"),
    ],
)  # fmt: skip
def test_the_block_of_a_layer(layer, block):
    assert block_of(layer) == block


def test_the_time_of_each_layer(tiny):
    pytest.importorskip("openvino")
    model = tiny(weights=None, include_preprocessing=True)
    seconds = measure(model, repeats=3)
    names = {layer.name for layer in profile(model).layers}
    assert set(seconds) <= names | {"input and output"}
    # Convolutions, with the batch norms that OpenVINO folds into them, have a time; so have no batch norms.
    assert {"stem_conv", "block1a_dwconv", "top_conv", "probs"} <= set(seconds)
    assert not any(name.endswith("_bn") for name in seconds)
    assert all(0 < value < 1 for value in seconds.values())
    assert np.isfinite(sum(seconds.values()))


def test_the_times_of_two_bodies_with_the_same_names_are_distinguished(keras):
    pytest.importorskip("openvino")
    inputs = keras.layers.Input((32, 32, 3))
    bodies = []
    for name in ("a", "b"):
        x = keras.layers.Input((32, 32, 3))
        bodies.append(keras.models.Model(x, keras.layers.Conv2D(4, 3, name="conv")(x), name=name)(inputs))
    seconds = measure(keras.models.Model(inputs, keras.layers.Add()(bodies)), repeats=2, threads=1)
    assert {"a/conv", "b/conv"} <= set(seconds)


def test_what_cannot_be_measured(keras):
    pytest.importorskip("openvino")
    model = keras.models.Sequential(
        [keras.layers.Input((8, 8, 3)), keras.layers.UpSampling2D(interpolation="bicubic", name="enlarge")]
    )
    with pytest.raises(ValueError, match=r"'enlarge', a UpSampling2D,.*cannot be measured"):
        measure(model)
    with pytest.raises(ValueError, match=r"batch_size=99999999999: measured are at most 1,024"):
        measure(model, batch_size=99999999999)
    for option in ("repeats", "threads", "batch_size"):
        with pytest.raises(ValueError, match=f"{option}=0"):
            measure(model, **{option: 0})


def test_the_time_needs_openvino(tiny, monkeypatch):
    monkeypatch.setattr("efficientnet.keras_graph.profile.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"efficientnet\[openvino\]"):
        measure(tiny(weights=None))
