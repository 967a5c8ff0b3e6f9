"""Heat maps on networks whose evidence is known by construction, whatever Keras is underneath."""

import numpy as np
import pytest
from color_models import CORNERS, color_model, corners_image

from efficientnet.explain import explain

BOTH = ("gradcam", "hirescam")


@pytest.fixture
def corners(keras):
    """Builds a classifier of colors: (8, 8, 3) pixels 0..255."""

    def build(activation="softmax", separate=None, pooled=True):
        layers = keras.layers
        inputs = layers.Input((8, 8, 3))
        x = layers.Rescaling(1 / 255, name="scaling")(inputs)
        x = layers.GlobalAveragePooling2D()(x) if pooled else layers.AveragePooling2D(8)(x)
        x = layers.Dropout(0.5)(x) if pooled else layers.Flatten()(x)
        dense = layers.Dense(2, activation)
        outputs = dense(x)
        if separate:
            outputs = separate(outputs)
        dense.set_weights(CORNERS)
        return keras.models.Model(inputs, outputs)

    return build


@pytest.fixture
def image():
    return corners_image()


def maps(model, image, method, **options):
    return explain(model, image, method, crop=1.0, interpolation="bilinear", preprocessing="none", **options)[0]


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("ending", ["softmax", "logits", "Softmax", "Activation"])
def test_evidence_lies_where_the_class_is(keras, corners, image, method, ending):
    layers = keras.layers
    separate = {"Softmax": layers.Softmax(), "Activation": layers.Activation("softmax")}.get(ending)
    model = corners("softmax" if ending == "softmax" else None, separate)
    red, green = (maps(model, image, method, class_index=index) for index in (0, 1))
    assert red.heat_map.dtype == np.float32
    np.testing.assert_allclose(red.heat_map, image[..., 0] / 200, atol=1e-6)
    np.testing.assert_allclose(green.heat_map, image[..., 1] / 100, atol=1e-6)
    best = maps(model, image, method)
    assert best.class_index == 1  # by its bias
    np.testing.assert_array_equal(best.heat_map, green.heat_map)
    assert (0 < best.score < 1) and (red.score + green.score == pytest.approx(1)) == (ending != "logits")


def test_occlusion_finds_the_class(corners, image):
    found = maps(corners(), image.repeat(2, axis=0).repeat(2, axis=1), "occlusion", class_index=0)
    assert found.heat_map[:2, :2].min() > 0.7
    assert found.heat_map[4:, 4:].max() < 0.1


@pytest.mark.parametrize("method", BOTH)
def test_a_single_sigmoid_has_two_classes(keras, image, method):
    model = color_model(keras, [[-1], [1], [0]], 0, "sigmoid", size=8)
    no, yes = (maps(model, image, method, class_index=index) for index in (0, 1))
    np.testing.assert_allclose(no.heat_map, image[..., 0] / 200, atol=1e-6)
    np.testing.assert_allclose(yes.heat_map, image[..., 1] / 100, atol=1e-6)
    assert no.score + yes.score == pytest.approx(1)


def test_labels_that_do_not_exclude_each_other(corners, image):
    found = maps(corners("sigmoid"), image, "gradcam", class_index=0)
    np.testing.assert_allclose(found.heat_map, image[..., 0] / 200, atol=1e-6)


@pytest.fixture
def network(tiny, keras):
    keras.utils.set_random_seed(0)
    return tiny(weights=None, classes=3)


@pytest.mark.slow
def test_a_network_that_ends_in_a_mean_has_its_class_activation_map(eff, keras, network):
    """It is the last features, weighted as the classifier weighs their means (arXiv 1512.04150)."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    features = keras.models.Model(network.input, network.get_layer("top_activation").output)
    found = explain(network, pixels, class_index=2, crop=1.0)[0].heat_map
    maps_of = np.asarray(features.predict_on_batch(eff.model_inputs(pixels, network, crop=1.0)))[0]
    kernel = network.layers[-1].get_weights()[0]
    expected = np.maximum(maps_of @ kernel[:, 2], 0)
    # Each feature is enlarged to as many pixels; in the middle of these the map has its value, nearly.
    side = 64 // len(expected)
    middles = found.reshape(len(expected), side, len(expected), side)[:, side // 2, :, side // 2]
    assert np.corrcoef(middles.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_a_nested_network_has_the_same_map(keras, network):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    inputs = keras.layers.Input((64, 64, 3))
    nested = keras.models.Model(inputs, network(inputs))
    within = keras.models.Sequential([keras.layers.Input((64, 64, 3)), nested])
    (expected,) = explain(network, pixels, class_index=1)
    for model, layer in ((nested, None), (within, None), (nested, f"{network.name}/top_activation"),
                         (nested, network.name)):  # fmt: skip
        (found,) = explain(model, pixels, class_index=1, layer=layer)
        np.testing.assert_allclose(found.heat_map, expected.heat_map, atol=1e-4)
        assert found.seen == expected.seen
    assert expected.heat_map.max() == 1


@pytest.mark.slow
def test_layers_before_the_last(trainable, network):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = {
        (method, layer): explain(network, pixels, method, class_index=1, layer=layer)[0].heat_map
        for method in BOTH
        for layer in ("stem_activation", "top_activation")
    }
    # Behind the last layer both are the same; before, a mean of the gradients is not the gradients.
    np.testing.assert_allclose(found["gradcam", "top_activation"], found["hirescam", "top_activation"], atol=1e-5)
    assert np.abs(found["gradcam", "stem_activation"] - found["hirescam", "stem_activation"]).max() > 0.01


def test_what_openvino_cannot_compute(backend, corners, network, image):
    if backend != "openvino":
        pytest.skip("other backends compute gradients")
    with pytest.raises(ValueError, match=r"OpenVINO computes no gradients.*stem_activation.*'occlusion'"):
        explain(network, image, layer="stem_activation")
    with pytest.raises(ValueError, match="OpenVINO computes no gradients"):
        maps(corners(pooled=False), image, "gradcam")
    assert maps(corners(pooled=False), image, "occlusion").heat_map.max() == 1


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_model_that_1_1_1_saved(eff, golden):
    model = eff.load_model(golden("qubvel-b0") / "full_model.h5", compile=False)
    (found,) = explain(model, np.full((70, 90, 3), 128, np.uint8), class_index=1, preprocessing="torch")
    assert found.heat_map.shape == (70, 90) and found.heat_map.max() == 1
