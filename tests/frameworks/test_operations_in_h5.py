"""Models with operations, ``x / 255.0`` and the like, that Keras 3 saved as ``.h5``, which it does not open itself."""

import numpy as np
import pytest

pytestmark = pytest.mark.once_per_keras


@pytest.fixture(scope="module")
def keras3(keras, is_legacy):
    if is_legacy:
        pytest.skip("legacy Keras opens what it saved")
    return keras


def scaled(k, x):
    return (2.0 * (x / 255.0) - 1.0) ** 2


def beside_layers(k, x):
    """Operations of the names of layers, and these layers."""
    both = [x * 3.0, k.layers.Multiply()([x, x])]
    return k.layers.Add()([x + 1.0, *both]) - x


def called_with_options(k, x):
    y = k.ops.softmax(k.ops.concatenate([x[:, :, :, :1], k.ops.maximum(x, 0.5)], axis=-1), axis=1)
    return k.ops.mean(y, axis=(1, 2), keepdims=True)


def within(k, x):
    inner = k.Input((4, 4, 3))
    return k.layers.TimeDistributed(k.Sequential([k.Input((3,)), k.layers.Dense(2)]))(
        k.ops.reshape(k.Model(inner, inner / 2.0, name="inner")(x), (-1, 16, 3))
    )


@pytest.mark.parametrize("call", [scaled, beside_layers, called_with_options, within])
def test_open_with_the_same_outputs(eff, keras3, tmp_path, call):
    x = keras3.Input((4, 4, 3))
    model = keras3.Model(x, call(keras3, x))
    model.save(tmp_path / "model.h5")
    before = (tmp_path / "model.h5").read_bytes()
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    opened = eff.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(opened.predict(pixels, verbose=0), model.predict(pixels, verbose=0), rtol=1e-6)
    assert (tmp_path / "model.h5").read_bytes() == before
