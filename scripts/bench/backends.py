"""The backends of Keras, each with the two networks to compare: ours and that of ``keras.applications``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

SIDES = ("ours", "peer")


class Backend(NamedTuple):
    """How to run on a backend: the packages it takes, what chooses it, its Keras, our module for that Keras."""

    packages: tuple[str, ...]
    environment: dict[str, str]
    keras: str
    shim: str


BACKENDS = {
    name: Backend(("keras", name), {"KERAS_BACKEND": name}, "keras", "efficientnet.keras")
    for name in ("tensorflow", "jax", "torch", "openvino")
}
BACKENDS["tf_keras"] = Backend(
    ("tensorflow", "tf_keras"), {"TF_USE_LEGACY_KERAS": "1"}, "tf_keras", "efficientnet.tfkeras"
)


def installed_backends() -> list[str]:
    """Return names of the backends that can run here."""
    return [name for name, backend in BACKENDS.items() if all(map(find_spec, backend.packages))]


def start(backend: Backend) -> dict[str, Callable[..., Any]]:
    """Wake a backend with one tiny layer; return what builds "ours" and the "peer", given a model's name.

    Both networks take raw pixels and have random weights, unless they are given others.
    """
    os.environ.update(backend.environment)
    keras = importlib.import_module(backend.keras)
    shim = importlib.import_module(backend.shim)
    keras.layers.Dense(1)(np.zeros((1, 1), np.float32))
    return {
        "ours": lambda name, weights=None: getattr(shim, name)(weights=weights, include_preprocessing=True),
        "peer": lambda name, weights=None: getattr(keras.applications, name)(weights=weights),
        "create": lambda variant: shim.create(variant, weights=None, include_preprocessing=True),
    }
