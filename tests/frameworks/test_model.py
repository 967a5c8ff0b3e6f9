"""The graph and its constructors, on whichever Keras is under test."""

import dataclasses
import inspect
import sys

import numpy as np
import pytest
from tiny_blocks import tiny_blocks

from efficientnet import get_variant, list_variants
from efficientnet.family.costs import cost
from efficientnet.model import build
from efficientnet.network.options import Options

pytestmark = pytest.mark.usefixtures("eagerly")


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")


def scalars(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def check_parameters(eff, name, last=None):
    """Of each stage the first block, or all where each differs; tests/family/test_arrays.py counts whole networks.

    ``last`` leaves out the stages behind that one.
    """
    whole = get_variant(name)
    stages = tuple(
        block if block.expanded_filters or block.se_filters else dataclasses.replace(block, num_repeat=1)
        for block in whole.blocks[:last]
    )
    variant = dataclasses.replace(whole, name="short", depth=1.0, blocks=stages)
    model = build(variant, eff.FRAMEWORK, Options(), draw_weights=False)
    assert scalars(model.trainable_variables) == cost(variant).parameters, name


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(weights=None)


@pytest.mark.once_per_keras
@pytest.mark.parametrize("name", ["b0", "lite0", "edgetpu-s", "v2-b0"])
def test_parameters(eff, name):
    check_parameters(eff, name)


@pytest.mark.slow
def test_parameters_of_every_variant(eff, is_legacy, backend):
    if is_legacy or backend != "tensorflow":
        pytest.skip("once is enough: the graph is the same on every backend")
    built = set()
    for name in list_variants():
        blocks = get_variant(name).blocks
        check_parameters(eff, name, last=1 if blocks in built else None)  # of other widths the stem, a stage, the head
        built.add(blocks)


@pytest.fixture
def shallow():
    """Lets Python call itself 250 times more."""
    limit, depth = sys.getrecursionlimit(), len(inspect.stack(0))
    sys.setrecursionlimit(depth + 250)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.once_per_keras
@pytest.mark.slow
def test_a_deep_variant_is_saved_and_opened(eff, is_legacy, tmp_path, shallow):
    """Its layers in a row are more than Python lets Keras call itself, as V2-XL's are where the limit is 1000."""
    limit = sys.getrecursionlimit()
    narrow = dataclasses.replace(get_variant("v2-b3"), name="deep", width=0.1)
    model = eff.create(narrow, weights=None, input_shape=(32, 32, 3), classes=2)
    path = tmp_path / ("deep.h5" if is_legacy else "deep.keras")
    model.save(path)
    again = eff.load_model(path)
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sys.getrecursionlimit() == limit


@pytest.mark.once_per_keras
def test_every_variant_has_a_constructor_that_says_what_it_is(eff):
    names = [name for name in eff.__all__ if name.startswith("EfficientNet") and name != "EfficientNet"]
    constructors = {get_variant(name).name: getattr(eff, name) for name in names}
    assert len(constructors) == len(names)
    for name in list_variants():
        constructor = constructors.pop(name)
        assert f"{constructor.__name__}: {cost(get_variant(name)).parameters / 1e6:.1f} million" in constructor.__doc__
        # Without indentation, as Python 3.13 compiles docstrings, and so the same in all versions.
        assert constructor.__doc__ == inspect.cleandoc(constructor.__doc__)
        assert "variant:" not in constructor.__doc__
        parameters = list(inspect.signature(constructor).parameters)
        assert parameters[:6] == ["include_top", "weights", "input_tensor", "input_shape", "pooling", "classes"]
        assert parameters[-1] == "name"
    assert not constructors


def test_answers_are_probabilities(model):
    answer = np.asarray(model.predict(pixels(2, 64, 64, 3) / 255, verbose=0))
    assert answer.shape == (2, 1000)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-2)


@pytest.mark.once_per_keras
def test_the_graph_holds_only_layers_of_keras(keras, model):
    for layer in model.layers:
        assert getattr(keras.layers, type(layer).__name__) is type(layer)


@pytest.mark.once_per_keras
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"include_top": False}, (None, 12, 8, 640)),
        ({"include_top": False, "pooling": "avg"}, (None, 640)),
        ({"include_top": False, "pooling": "max"}, (None, 640)),
        ({"classes": 7}, (None, 7)),
        ({"classes": 7, "classifier_activation": None}, (None, 7)),
    ],
)
def test_tops(tiny, options, shape):
    assert tiny(weights=None, input_shape=(96, 64, 3), **options).output_shape == shape


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_logits_become_the_probabilities(tiny, keras):
    keras.utils.set_random_seed(1)
    probabilities = tiny(weights=None, input_shape=(64, 64, 3), classes=5)
    keras.utils.set_random_seed(1)
    logits = tiny(weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None)
    x = pixels(2, 64, 64, 3) / 255
    z = np.exp(np.asarray(logits.predict(x, verbose=0), "float64"))
    expected = z / z.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities.predict(x, verbose=0), expected, atol=1e-2)


@pytest.mark.parametrize(
    "options", [{"include_top": False}, pytest.param({"features_only": True}, marks=pytest.mark.once_per_keras)]
)
def test_any_size_without_a_classifier(tiny_lite, options):
    model = tiny_lite(weights=None, **options)
    assert model.input_shape == (None, None, None, 3)
    for height, width, shape in ((64, 64, (8, 8)), (33, 70, (5, 9))):
        last = model.predict(pixels(1, height, width, 3), verbose=0)
        assert np.asarray(last[-1] if "features_only" in options else last).shape[1:3] == shape


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_classifier_or_experts_fix_the_size(eff):
    for name, has_top in (("lite0", True), ("condconv-b0-4e", False)):
        variant = dataclasses.replace(get_variant(name), name="short", width=0.25, depth=0.4)
        assert eff.create(variant, weights=None, include_top=has_top).input_shape == (None, 224, 224, 3)


@pytest.mark.once_per_keras
@pytest.mark.parametrize("classes", [2, 1000])
def test_a_random_classifier_starts_alike_whatever_the_classes(eff, tiny, classes):
    kernel = tiny(weights=None, classes=classes).get_layer("probs").get_weights()[0]
    assert np.abs(kernel).max() == pytest.approx(1000**-0.5, rel=0.01)
    assert kernel.std() == pytest.approx((3 * 1000) ** -0.5, rel=0.05)


@pytest.mark.once_per_keras
def test_other_numbers_of_channels(tiny):
    model = tiny(weights=None, input_shape=(32, 32, 5), classes=3)
    assert np.asarray(model.predict(pixels(1, 32, 32, 5), verbose=0)).shape == (1, 3)


@pytest.mark.once_per_keras
def test_built_on_a_tensor_of_an_earlier_layer(tiny, keras):
    earlier = keras.layers.Input((64, 64, 1))
    rgb = keras.layers.Concatenate(name="grey_to_rgb")([earlier, earlier, earlier])
    model = tiny(weights=None, input_tensor=rgb, classes=3)
    assert model.input_shape == (None, 64, 64, 1)
    assert np.asarray(model.predict(pixels(1, 64, 64, 1), verbose=0)).shape == (1, 3)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_weights_load_behind_an_earlier_layer(tiny, keras, is_legacy, tmp_path):
    original = tiny(weights=None, input_shape=(32, 32, 3), classes=3)
    original.save_weights(tmp_path / "w.weights.h5")
    earlier = keras.layers.Input((32, 32, 1))
    rgb = keras.layers.Dense(3, name="colours")(earlier)
    model = tiny(weights=tmp_path / "w.weights.h5", input_tensor=rgb, classes=3)
    x = pixels(2, 32, 32, 3)
    body = keras.models.Model(rgb, model.output)
    np.testing.assert_allclose(
        np.asarray(body.predict(x, verbose=0)), np.asarray(original.predict(x, verbose=0)), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_five_feature_maps(eff):
    model = eff.EfficientNetB0(weights=None, input_shape=(64, 96, 3), features_only=True)
    assert [tuple(shape) for shape in model.output_shape] == [
        (None, 32, 48, 16),
        (None, 16, 24, 24),
        (None, 8, 12, 40),
        (None, 4, 6, 112),
        (None, 2, 3, 320),
    ]


@pytest.mark.slow
def test_preprocessing_inside_is_preprocessing_outside(eff, keras, tiny, tiny_lite):
    for constructor, mode in ((tiny, "torch"), (tiny_lite, "lite")):
        keras.utils.set_random_seed(3)
        inside = constructor(weights=None, input_shape=(64, 64, 3), classes=4, include_preprocessing=True)
        keras.utils.set_random_seed(3)
        outside = constructor(weights=None, input_shape=(64, 64, 3), classes=4)
        x = pixels(2, 64, 64, 3)
        a = np.asarray(inside.predict(x, verbose=0))
        b = np.asarray(outside.predict(eff.preprocess_input(x, mode=mode), verbose=0))
        np.testing.assert_allclose(a, b, atol=1e-2 if keras.backend.backend() == "openvino" else 1e-5)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_drop_connect_grows_with_depth_and_can_be_off(tiny):
    first, second = tiny_blocks("b0")
    longer = first, dataclasses.replace(second, num_repeat=4)
    model = tiny(weights=None, drop_connect_rate=0.32, dropout_rate=0.0, blocks_args=longer)
    rates = {layer.name: layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"}
    assert "top_dropout" not in rates
    assert rates["block2b_drop"] == pytest.approx(0.128)
    assert rates["block2d_drop"] == pytest.approx(0.256)
    without = tiny(weights=None, drop_connect_rate=0.0)
    assert [layer.name for layer in without.layers if type(layer).__name__ == "Dropout"] == ["top_dropout"]


def test_stochastic_depth_drops_whole_images(tiny, keras, is_legacy, trainable):
    layer = tiny(weights=None).get_layer("block2b_drop")
    dropped = layer(np.ones((200, 2, 2, 3), "float32"), training=True)
    each = (dropped.numpy() if is_legacy else keras.ops.convert_to_numpy(dropped)).reshape(200, -1)
    assert (each == each[:, :1]).all()
    assert 0 < (each[:, 0] == 0).sum() < 100


@pytest.mark.slow
def test_random_weights_are_those_of_the_paper_and_repeatable(tiny, keras):
    def weights():
        keras.utils.set_random_seed(7)
        return tiny(weights=None)

    model = weights()
    kernel = model.get_layer("block2b_expand_conv").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / 144), rel=0.05)
    assert abs(kernel).max() > 3 * kernel.std()  # not truncated
    depthwise = model.get_layer("block2b_dwconv").get_weights()[0]
    assert depthwise.std() == pytest.approx(np.sqrt(2 / 25), rel=0.05)
    dense, bias = model.get_layer("probs").get_weights()
    assert 0.99 / np.sqrt(1000) < abs(dense).max() <= 1 / np.sqrt(1000)
    assert not bias.any()
    for first, second in zip(model.get_weights(), weights().get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_channels_first(tiny, backend, channels_first):
    model = tiny(weights=None, input_shape=(3, 64, 96), include_top=False, include_preprocessing=True)
    assert model.output_shape == (None, 640, 8, 12)
    if backend != "tensorflow":  # whose convolutions on a CPU are channels-last only
        assert np.asarray(model.predict(pixels(1, 3, 64, 96), verbose=0)).shape == (1, 640, 8, 12)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [pytest.param("mixed_float16", marks=pytest.mark.once_per_keras), "mixed_bfloat16"])
def test_mixed_precision(tiny, keras, backend, trainable, policy):
    if policy == "mixed_float16" and backend == "torch":
        pytest.skip("PyTorch has no float16 convolutions on a CPU")
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = tiny(weights=None, input_shape=(32, 32, 3), classes=4)
        assert "float32" in str(model.output.dtype)
        assert policy.removeprefix("mixed_") in str(model.get_layer("top_activation").output.dtype)
        model.compile("sgd", "sparse_categorical_crossentropy")
        loss = model.train_on_batch(pixels(4, 32, 32, 3) / 255, np.array([0, 1, 2, 3]))
        assert np.isfinite(np.asarray(loss)).all()
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.once_per_keras
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "mean", "include_top": False}, "pooling='mean'.*'avg', 'max'"),
        ({"pooling": "avg", "features_only": True}, "features_only"),
        ({"classes": 0}, "classes=0"),
        ({"dropout_rate": 1.5}, "dropout_rate=1.5"),
        ({"drop_connect_rate": -0.1}, "drop_connect_rate=-0.1"),
        ({"input_shape": (31, 64, 3)}, r"\(31, 64, 3\).*at least 32 pixels"),
        ({"input_shape": (3, 64, 64)}, r"expected \(height, width, channels\)"),
        ({"input_shape": (64, 64)}, r"\(64, 64\).*\(height, width, channels\)"),
        ({"input_shape": (64, 64, None)}, "channels may not"),
        ({"classifier_activation": dict}, "classifier_activation=<class 'dict'>"),
    ],
)
def test_bad_options_are_named(eff, options, message):
    with pytest.raises(ValueError, match=message):
        eff.EfficientNetB0(weights=None, **options)


@pytest.mark.once_per_keras
@pytest.mark.once_per_keras
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_an_input_tensor_may_be_smaller_than_an_input_shape(tiny, keras, padding):
    """MNIST's 28 pixels, as programs for 1.1.1 have them, and a single one."""
    any_size = tiny(weights=None, include_top=False, input_shape=(None, None, 3), padding=padding)
    for side in (28, 1):
        tensor = keras.layers.Input((side, side, 3))
        model = tiny(weights=None, include_top=False, input_tensor=tensor, padding=padding)
        model.set_weights(any_size.get_weights())
        x = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype("float32")
        np.testing.assert_allclose(model.predict(x, verbose=0), any_size.predict(x, verbose=0), atol=1e-6)


def test_an_array_is_no_input_tensor(eff):
    with pytest.raises(TypeError, match=r"ndarray.*layers\.Input"):
        eff.EfficientNetB0(weights=None, input_tensor=np.zeros((1, 64, 64, 3)))


@pytest.mark.once_per_keras
def test_an_input_tensor_and_another_input_shape_are_refused(tiny, keras):
    tensor = keras.layers.Input((None, 64, 3))
    assert tiny(weights=None, input_tensor=tensor, input_shape=(64, None, 3)).input_shape == (None, None, 64, 3)
    for shape in ((64, 48, 3), (64, 64, 1), (64, 64)):
        with pytest.raises(ValueError, match=r"input_shape=\(64, .* with an input_tensor of shape \(None, 64, 3\)"):
            tiny(weights=None, input_tensor=tensor, input_shape=shape)


@pytest.mark.once_per_keras
def test_whole_numbers_are_taken_where_the_network_scales_them(tiny, keras):
    def build(**options):
        return tiny(weights=None, input_tensor=keras.layers.Input((32, 32, 3), dtype="uint8"), classes=3, **options)

    with pytest.raises(TypeError, match=r"input_tensor is of .*uint8.*include_preprocessing=True"):
        build()
    scaling = build(include_preprocessing=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    same = tiny(weights=None, input_shape=(32, 32, 3), classes=3, include_preprocessing=True)
    same.set_weights(scaling.get_weights())
    np.testing.assert_allclose(scaling.predict(images, verbose=0), same.predict(images * 1.0, verbose=0), atol=1e-6)


@pytest.mark.once_per_keras
def test_a_softmax_over_one_class_is_told(tiny, caplog):
    for options, count in (({}, 1), ({"classifier_activation": "sigmoid"}, 0), ({"include_top": False}, 0)):
        caplog.clear()
        tiny(weights=None, classes=1, **options)
        assert caplog.text.count("A softmax over one class is always 1") == count


@pytest.mark.once_per_keras
def test_the_framework_free_constructor_says_what_it_lacks():
    from efficientnet import model

    with pytest.raises(TypeError, match=r"backend=, layers=.*efficientnet\.keras"):
        model.EfficientNetB0(weights=None)
