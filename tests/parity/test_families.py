"""EdgeTPU and V2 answer as other implementations of them do, given the same numbers."""

import dataclasses

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.checkpoints import torch_pickle
from efficientnet.model import build

# PyTorch's layouts -> Keras': by number of axes, and for depthwise kernels.
AXES, DEPTHWISE = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}, (2, 3, 0, 1)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("edgetpu-s", "timm-tf_efficientnet_es-w0.25"),
        ("b0", "timm-tf_efficientnet_b0-w0.25"),
        ("lite0", "timm-tf_efficientnet_lite0-w0.25"),
    ],
)
def test_timm(eff, is_legacy, backend, shared, name, folder):
    """timm keeps its layers in the order in which they are called, and so do we."""
    if is_legacy or backend != "tensorflow":
        pytest.skip("once is enough: the graph is the same on every backend")
    arrays = torch_pickle.read(shared / "golden" / folder / "model.pth")
    arrays = [array for key, array in arrays.items() if not key.endswith("num_batches_tracked")]
    variant = dataclasses.replace(get_variant(name), width=0.25, resolution=64)
    # timm rounds the widened stem and head by a rule of its own.
    variant = dataclasses.replace(
        variant, scale_stem_and_head=False, stem_filters=arrays[0].shape[0], head_filters=arrays[-2].shape[1]
    )
    model = build(variant, eff.FRAMEWORK, classes=10, draw_weights=False)
    for layer in model.layers:
        if layer.weights:
            taken, arrays = arrays[: len(layer.weights)], arrays[len(layer.weights) :]
            is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
            layer.set_weights([array.transpose(DEPTHWISE if is_depthwise else AXES[array.ndim]) for array in taken])
    assert not arrays
    with np.load(shared / "golden" / folder / "io.npz") as io:
        np.testing.assert_allclose(np.asarray(model.predict(io["x"], verbose=0)), io["y"], atol=1e-5)


@pytest.mark.parametrize("name", ["V2B0", "V2S"])
def test_keras_applications(eff, keras, is_legacy, backend, name):
    if is_legacy or backend != "tensorflow":
        pytest.skip("once is enough: the graph is the same on every backend")
    shape = (64, 64, 3)
    peer = getattr(keras.applications, f"EfficientNet{name}")(
        weights=None, input_shape=shape, classes=7, include_preprocessing=False
    )
    ours = getattr(eff, f"EfficientNet{name}")(weights=None, input_shape=shape, classes=7)
    rng = np.random.default_rng(0)
    theirs = {layer.name: layer for layer in peer.layers if layer.weights}
    for layer in ours.layers:
        if layer.weights:
            twin = theirs.pop(layer.name.replace("probs", "predictions").replace("_dwconv", "_dwconv2"))
            # Statistics as after training, so that batch norm is not the identity.
            layer.set_weights(
                [value + rng.uniform(0, 0.2, value.shape).astype("float32") for value in layer.get_weights()]
            )
            twin.set_weights(layer.get_weights())
    assert not theirs
    x = rng.uniform(-1, 1, (2, *shape)).astype("float32")
    np.testing.assert_allclose(ours.predict_on_batch(x), peer.predict_on_batch(x), atol=2e-5)
