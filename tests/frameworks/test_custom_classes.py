"""Files of models of custom classes: the network in an attribute, whichever way, is found and loaded exactly."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from tiny_blocks import tiny_blocks

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import CheckpointError
from efficientnet.family.arrays import role
from efficientnet.images.pixel_scaling import Scaling
from efficientnet.weights import finding

pytestmark = pytest.mark.once_per_keras
TINY = dataclasses.replace(get_variant("b0"), name="tiny", width=0.5, blocks=tiny_blocks("b0"))


@pytest.fixture(scope="module")
def body(tiny: Any) -> Any:
    network = tiny(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.1, 1, weight.shape).astype("float32") for weight in network.get_weights()])
    return network


@pytest.fixture
def suffixes(is_legacy: bool) -> tuple[str, ...]:
    return (".keras", ".weights.h5", ".h5", ".ckpt") if is_legacy else (".keras", ".weights.h5")


def custom(keras: Any, **parts: Any) -> Any:
    """A model of a custom class with these attributes, which it calls one after another."""

    class Custom(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def call(self, x: Any) -> Any:
            for part in parts.values():
                for layer in part if isinstance(part, list) else [part]:
                    x = layer(x)
            return x

        def get_config(self) -> dict[str, Any]:
            return {"layers": [64, 32]}  # a class may mean by it what it likes

    return Custom()


def build(keras: Any, kind: str, body: Any) -> Any:
    dense = keras.layers.Dense
    match kind:
        case "attribute before layers":
            return custom(keras, body=body, out=dense(5))
        case "attributes before layers":
            return custom(keras, backbone=body, head=dense(5))
        case "attributes behind layers":
            return custom(keras, net=body, out=dense(5))
        case "the name of a layer in layers":
            return custom(keras, functional=body, dense=dense(3), out=dense(5))
        case "a model within":
            return custom(keras, net=custom(keras, body=body), out=dense(5))
        case "a list":
            return custom(keras, parts=[body, dense(3), dense(5)])
        case "a Sequential around":
            return custom(keras, body=keras.Sequential([keras.Input((32, 32, 3)), body, dense(9)]), out=dense(5))
        case "a Sequential behind":
            return custom(keras, body=body, out=keras.Sequential([dense(9), dense(5)]))
        case "augmentation":
            inputs = keras.Input((32, 32, 3))
            augmented = keras.layers.Rescaling(1 / 255)(keras.layers.RandomFlip()(inputs))
            return custom(keras, body=keras.Model(inputs, body(augmented)), out=dense(5))
    raise ValueError(kind)


KINDS = (
    "attribute before layers", "attributes before layers", "attributes behind layers", "the name of a layer in layers",
    "a model within", "a list", "a Sequential around", "a Sequential behind", "augmentation",
)  # fmt: skip


def save(model: Any, path: Any) -> Any:
    if not model.built:
        model(np.zeros((1, 32, 32, 3), np.float32))
        model.compile("adam", "mse", metrics=["mae"])
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return path.with_suffix(".ckpt.index") if path.suffix == ".ckpt" else path


def arrays(network: Any) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{role(weight.name)}": value
        for layer in network.layers
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
    }


def expect(network: Any, found: Any) -> None:
    for name, value in arrays(network).items():
        np.testing.assert_array_equal(value, np.asarray(found[name]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_body_is_found_and_the_head_taken_or_named(keras, body, suffixes, tmp_path, kind):
    model = build(keras, kind, body)
    for suffix in suffixes:
        reading = checkpoints.accept(checkpoints.read_checkpoint(save(model, tmp_path / f"mine{suffix}"), TINY))
        expect(body, reading.arrays)
        kernels = [value for value in model.get_weights() if value.shape[-1] == 5 and value.ndim == 2]
        if reading.classes is None:
            assert any(stored.shape == kernels[0].shape and name in reading.aside
                       for name, stored in reading.checkpoint.arrays.items())  # fmt: skip
        else:
            np.testing.assert_array_equal(reading.arrays["probs/kernel"], kernels[0])
        assert not [name for name in reading.aside if re.match("optimizer|metrics", name)]


@pytest.mark.slow
def test_the_constructor(keras, body, tiny, tmp_path, caplog):
    path = save(build(keras, "a list", body), tmp_path / "mine.weights.h5")
    expect(body, arrays(tiny(weights=path, include_top=False, input_shape=(32, 32, 3))))
    assert re.search(r"left aside: .*dense, .*dense_1\.", caplog.text)


@pytest.mark.slow
def test_two_networks(keras, body, tmp_path):
    other = keras.models.clone_model(body)
    inputs = keras.Input((32, 32, 3))
    both = keras.layers.Concatenate()([network(inputs) for network in (body, keras.Sequential([other]))])
    path = save(custom(keras, net=keras.Model(inputs, both), out=keras.layers.Dense(5)), tmp_path / "two.weights.h5")
    with pytest.raises(CheckpointError, match="holds several networks"):
        checkpoints.read_checkpoint(path, TINY)


@pytest.mark.slow
def test_the_scaling_of_pixels_is_that_of_the_body(keras, tiny, suffixes, tmp_path):
    """As in networks of keras.applications; the arrays of one in another model were taken for ImageNet's."""
    inputs = keras.Input((32, 32, 3))
    scaled = keras.layers.Normalization(name="normalization")(keras.layers.Rescaling(1 / 255)(inputs))
    body = tiny(weights=None, include_top=False, pooling="avg", input_tensor=scaled)
    normalization = body.get_layer("normalization")
    normalization.set_weights([np.full_like(value, 0.25) for value in normalization.get_weights()])
    model = custom(keras, body=body, out=keras.layers.Dense(5))
    for suffix in suffixes:
        reading = checkpoints.read_checkpoint(save(model, tmp_path / f"mine{suffix}"), TINY)
        known = finding.of_reading(reading)
        assert (known.padding, known.epsilon) == ("same", 1e-3)
        assert isinstance(known.preprocessing, Scaling)
        np.testing.assert_allclose(known.preprocessing, Scaling((2 / 255,) * 3, (-0.5,) * 3), rtol=1e-6)
