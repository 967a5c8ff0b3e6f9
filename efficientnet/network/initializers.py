"""How a network's weights start: Keras' initializers, drawn by NumPy."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def scaled_conv_initializer(factor: int) -> dict[str, Any]:
    """Return the initializer of convolutions for a layer whose fan-out is ``factor`` times a convolution's."""
    return {
        "class_name": "VarianceScaling",
        "config": {"scale": 2.0 * factor, "mode": "fan_out", "distribution": "untruncated_normal"},
    }


def _dense_initializer(scale: float) -> dict[str, Any]:
    return {
        "class_name": "VarianceScaling",
        "config": {"scale": scale, "mode": "fan_out", "distribution": "uniform"},
    }


# Normal with variance 2 / fan_out, not truncated; dense layers uniform in ±1 / sqrt(outputs): as the authors'
# released code has them.
CONV_INITIALIZER = scaled_conv_initializer(1)
DENSE_INITIALIZER = _dense_initializer(1 / 3)


def classifier_initializer(classes: int) -> dict[str, Any]:
    """Return the initializer of a new classifier: the authors' for their 1,000 classes, and no wider for fewer.

    With theirs the logits of 1,000 classes start with a standard deviation of 0.3, those of three with 6.
    """
    return _dense_initializer(classes / max(classes, 1000) / 3)


def generator() -> np.random.Generator:
    """Yield a generator seeded from NumPy's global one, which ``keras.utils.set_random_seed`` seeds."""
    return np.random.default_rng(np.random.randint(2**31))


def call_drawing_weights(rng: np.random.Generator | None, layer: Any, x: Any) -> Any:
    """Call a new layer, its weights drawn by NumPy from the layer's own initializers.

    Keras would draw them on the backend, where JAX compiles one program for each shape: for B0 that is
    nearly all of the time it takes to build. The layer keeps its initializers and so its configuration.
    Without ``rng`` random weights stay zero.
    """
    initializers = {name: value for name, value in vars(layer).items() if name.endswith("_initializer")}
    for name, initializer in initializers.items():
        setattr(layer, name, functools.partial(_draw, rng, initializer))
    try:
        return layer(x)
    finally:
        for name, initializer in initializers.items():
            setattr(layer, name, initializer)


def _draw(
    rng: np.random.Generator | None, initializer: Any, shape: Sequence[int], dtype: Any = "float32", **_: Any
) -> np.ndarray:
    """Draw what a Keras initializer (Zeros, Ones, VarianceScaling by fan-out) would draw."""
    dtype = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    kind = type(initializer).__name__
    if kind == "Ones":
        return np.ones(shape, dtype)
    if kind == "Zeros" or rng is None:
        return np.zeros(shape, dtype)
    config = initializer.get_config()
    variance = config["scale"] / (math.prod(shape[:-2]) * shape[-1])
    if config["distribution"] == "uniform":
        limit = math.sqrt(3 * variance)
        return rng.uniform(-limit, limit, shape).astype(dtype)
    return (rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(variance))).astype(dtype)
