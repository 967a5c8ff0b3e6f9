"""Kernels mixed for each image (CondConv), and padding as PyTorch has it."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(0, 1, (3, 32, 32, 3)).astype(np.float32)


def test_each_image_has_its_own_kernel(keras, backend, tiny_condconv, x):
    model = tiny_condconv(weights=None, classes=4)
    tolerance = 0.05 if backend == "openvino" else 1e-4  # there Keras computes in bfloat16 where it can
    names = ("block2a_routing", "block1a_project_bn", "block2a_expand_conv", "block2a_dw_experts", "block2a_dwconv")
    answers = keras.models.Model(model.input, [model.get_layer(name).output for name in names]).predict_on_batch(x)
    routing, inputs, expanded, experts, mixed = map(np.asarray, answers)
    assert ((routing > 0) & (routing < 1)).all()
    kernels = model.get_layer("block2a_expand_experts").get_weights()[0].reshape(4, 8, -1)
    for image, weights in enumerate(routing):
        kernel = np.tensordot(weights, kernels, 1)
        np.testing.assert_allclose(expanded[image], inputs[image] @ kernel, atol=tolerance)
        by_expert = experts[image].reshape(*mixed.shape[1:], 4)
        np.testing.assert_allclose(mixed[image], by_expert @ weights, atol=tolerance)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_it_opens_with_plain_keras(keras, tiny_condconv, x, tmp_path):
    model = tiny_condconv(weights=None, classes=4)
    for file in ("model.keras", "model.h5"):
        model.save(tmp_path / file)
        again = keras.models.load_model(tmp_path / file, compile=False)
        expected = np.asarray(model.predict_on_batch(x))
        np.testing.assert_allclose(np.asarray(again.predict_on_batch(x)), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_it_trains(trainable, tiny_condconv, x):
    model = tiny_condconv(weights=None, classes=4)
    before = [layer.get_weights() for layer in map(model.get_layer, ("block2b_routing", "block2b_project_experts"))]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(x, np.array([0, 1, 2]))
    after = [layer.get_weights() for layer in map(model.get_layer, ("block2b_routing", "block2b_project_experts"))]
    assert all((old[0] != new[0]).any() for old, new in zip(before, after, strict=True))


@pytest.mark.once_per_keras
def test_the_size_has_to_be_known(tiny_condconv):
    with pytest.raises(ValueError, match=r"tiny-condconv mixes kernels for each image.*give\s+input_shape="):
        tiny_condconv(weights=None, input_shape=(None, None, 3))


def test_symmetric_padding(eff, keras, tiny, x, backend):
    """The first pixel that TensorFlow's convolution sees is the first, PyTorch's sees a zero before it."""
    ours = tiny(weights=None, input_shape=(32, 32, 3), padding="symmetric", batch_norm_epsilon=1e-5)
    assert ours.get_layer("stem_bn").epsilon == pytest.approx(1e-5)
    stem = keras.models.Model(ours.input, ours.get_layer("stem_conv").output)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = ours.get_layer("stem_conv").get_weights()[0]
    expected = np.einsum("bhwc,hwco->bo", padded[:, 4:7, 6:9], kernel)
    tolerance = 0.05 if backend == "openvino" else 1e-5
    np.testing.assert_allclose(np.asarray(stem.predict_on_batch(x))[:, 2, 3], expected, atol=tolerance)
    with pytest.raises(ValueError, match="padding='valid': expected one of 'same', 'symmetric'"):
        tiny(weights=None, padding="valid")
