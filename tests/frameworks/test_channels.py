"""Images of other numbers of channels than 3, with weights for RGB; on whichever Keras is under test."""

import functools

import numpy as np
import pytest
from tiny_blocks import tiny_blocks

from efficientnet.preprocessing import Scaling, preprocess_input, scale_and_offset

# What is new about these networks is arithmetic on weights, the same on every backend.
pytestmark = [pytest.mark.once_per_keras, pytest.mark.usefixtures("eagerly")]


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("float32")


@pytest.fixture(scope="module")
def tiny(tiny):
    """Of one block: what is new is in front of it."""
    return functools.partial(tiny, blocks_args=tiny_blocks("b0")[:1])


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Weights for RGB, with a batch norm that has something to do, as a file."""
    model = tiny(weights=None, input_shape=(33, 32, 3), classes=4)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([value + rng.uniform(0, 0.2, value.shape) for value in layer.get_weights()])
    path = tmp_path_factory.mktemp("rgb") / "rgb.weights.h5"
    model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def build(tiny, trained):
    """Builds the same network for so many channels, once for all tests that predict with it."""

    @functools.cache
    def build(channels, mode="torch", **options):
        shape = (33, 32, channels)  # of an odd side, which pads otherwise than an even one
        return tiny(weights=trained, input_shape=shape, classes=4, preprocessing=mode, **options)

    return build


@pytest.fixture(scope="module")
def tolerance(backend):
    return 0.05 if backend == "openvino" else 1e-6  # Keras on OpenVINO computes in bfloat16, where it can


def predict(model, x):
    return np.asarray(model.predict(x, verbose=0))


def as_rgb(x):
    """The RGB image that gives a first kernel for three channels what x gives the repeated one."""
    count = x.shape[-1]
    return np.stack([x[..., color::3].sum(-1) * 3 / count for color in range(3)], axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["torch", "lite", Scaling((0.02, 0.01, 0.03), (-1.0, -2.0, 0.5))])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_grey_image_is_the_image_of_three_equal_channels(build, tolerance, mode, padding):
    grey = pixels(3, 33, 32, 1)
    options = {"include_preprocessing": True, "padding": padding}
    expected = predict(build(3, mode, **options), np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(predict(build(1, mode, **options), grey), expected, atol=tolerance)
    assert np.ptp(expected) > 1e-3


def test_a_preprocessed_grey_image_is_the_image_of_three_equal_channels(build, tolerance):
    grey = pixels(3, 33, 32, 1) / 100 - 1
    model = build(1)
    assert model.get_layer("stem_conv").get_weights()[0].shape[2] == 1
    np.testing.assert_allclose(predict(model, grey), predict(build(3), np.repeat(grey, 3, axis=-1)), atol=tolerance)


@pytest.mark.parametrize("channels", [2, 4, 6, 13])
def test_several_channels_are_red_green_and_blue_in_turn(build, tolerance, channels):
    x = pixels(3, 33, 32, channels) / 100 - 1
    expected = predict(build(3), as_rgb(x))
    np.testing.assert_allclose(predict(build(channels), x), expected, atol=tolerance)


@pytest.mark.parametrize("channels", [4, 6, 13])
def test_several_channels_are_scaled_as_red_green_and_blue(eff, build, tolerance, channels):
    x = pixels(3, 33, 32, channels)
    scale, offset = (np.resize(values, channels) for values in scale_and_offset("torch"))
    expected = predict(build(3), as_rgb(x * scale + offset))
    np.testing.assert_allclose(predict(build(channels, include_preprocessing=True), x), expected, atol=tolerance)
    model = build(channels)
    np.testing.assert_allclose(predict(model, eff.preprocess_input(x, model=model)), expected, atol=tolerance)


def test_six_channels_of_the_same_image_twice_are_the_image(build, tolerance):
    x = pixels(3, 33, 32, 3)
    once, twice = (build(channels, include_preprocessing=True) for channels in (3, 6))
    np.testing.assert_allclose(predict(twice, np.concatenate([x, x], -1)), predict(once, x), atol=tolerance)


def test_channels_first(tiny, trained, backend, is_legacy, tolerance, channels_first):
    if is_legacy or backend == "tensorflow":
        pytest.skip("TensorFlow's convolutions on a CPU are channels-last only")
    rgb, grey = (
        tiny(weights=trained, input_shape=(count, 33, 32), classes=4, include_preprocessing=True) for count in (3, 1)
    )
    x = pixels(2, 1, 33, 32)
    np.testing.assert_allclose(predict(grey, x), predict(rgb, np.repeat(x, 3, axis=1)), atol=tolerance)


def test_what_models_say_of_their_scaling(eff, build):
    assert eff.model_preprocessing(build(1, "lite")) == "lite"
    (scale,), (offset,) = eff.model_preprocessing(build(1))
    expected = preprocess_input(np.full((1, 1, 3), 100.0)).mean()
    assert 100 * scale + offset == pytest.approx(expected)
    assert len(eff.model_preprocessing(build(4)).scale) == 4
    for channels in (1, 4):
        assert eff.model_preprocessing(build(channels, include_preprocessing=True)) == "none"


def test_in_channels_leaves_the_sides_as_they_are(tiny, trained, keras):
    assert tiny(weights=None, in_channels=4).input_shape == (None, 64, 64, 4)
    assert tiny(weights=trained, in_channels=1, include_top=False).input_shape == (None, None, None, 1)
    assert tiny(weights=None, in_channels=2, input_tensor=keras.layers.Input((64, 64, 2))).input_shape[-1] == 2


@pytest.mark.slow
def test_a_grey_model_is_saved_and_its_weights_are_used_again(eff, build, tiny, is_legacy, tolerance, tmp_path):
    model, grey = build(1, include_preprocessing=True), pixels(2, 33, 32, 1)
    path = tmp_path / ("grey.h5" if is_legacy else "grey.keras")
    model.save(path)
    again = tiny(weights=path, input_shape=(33, 32, 1), classes=4, include_preprocessing=True)
    for other in (eff.load_model(path), again):
        np.testing.assert_allclose(predict(other, grey), predict(model, grey), atol=tolerance)
    four = build(4, include_preprocessing=True)
    path = tmp_path / ("four.h5" if is_legacy else "four.keras")
    four.save(path)
    again = tiny(weights=path, input_shape=(33, 32, 4), classes=4)
    assert eff.model_preprocessing(again) == eff.model_preprocessing(build(4))


@pytest.mark.slow
def test_weights_for_grey_are_made_ones_for_rgb_and_others_are_not(tiny, build, tolerance, tmp_path):
    grey, x = build(1, "lite"), pixels(2, 33, 32, 1) / 100 - 1
    grey.save_weights(tmp_path / "grey.weights.h5")
    rgb = tiny(weights=tmp_path / "grey.weights.h5", input_shape=(33, 32, 3), classes=4)
    np.testing.assert_allclose(predict(rgb, np.repeat(x, 3, axis=-1)), predict(grey, x), atol=tolerance)
    build(4).save_weights(tmp_path / "four.weights.h5")
    with pytest.raises(ValueError, match=r"of 4 channels, not 3, .* pass in_channels=4 or weights=None"):
        tiny(weights=tmp_path / "four.weights.h5", input_shape=(33, 32, 3), classes=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels=0: expected an integer of at least 1"),
        ({"in_channels": "4"}, "in_channels='4': expected an integer"),
        (
            {"in_channels": 4, "input_shape": (64, 64, 3)},
            r"in_channels=4 with input_shape=\(64, 64, 3\): make",
        ),
        (
            {"in_channels": 5, "preprocessing": Scaling((1.0, 2.0), (0.0, 0.0)), "include_preprocessing": True},
            "numbers for 2 channels, the images have 5: give as many",
        ),
    ],
)
def test_bad_values_are_named(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(weights=None, **options)
