"""Import of a Keras, and the choice of its backend."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..common.packages import install, missing
from ..common.text import get_logger

logger = get_logger()

_RECURSION_LIMIT = 10_000

_OLDEST = (3, 12)  # Keras, as in setup.py
# Keras' name for a backend -> the module it needs; in the order of preference where none is chosen.
_BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch", "openvino": "openvino"}
_is_command = False
_EXTRAS = f"{install('tensorflow')} (or [jax], [torch], or [openvino], which cannot train)"


def is_command() -> None:
    """Have ``import_keras`` set the order of channels last, which the commands build and read in.

    A program sets an order itself, and means it; Keras' configuration file may have one of years ago.
    """
    global _is_command
    _is_command = True


def import_keras() -> Any:
    """Import ``keras``, on an installed backend where none is chosen and TensorFlow is missing.

    A choice, by ``KERAS_BACKEND`` or in Keras' configuration file, is never overridden. The file's
    ``"tensorflow"`` is not a choice: Keras itself writes it at its first import.

    Raises:
        ImportError: Keras, or every backend, is missing, or Keras is too old; the message says what to install.
    """
    if find_spec("keras") is None:
        raise ImportError(f"efficientnet.keras needs Keras 3 and a backend: {_EXTRAS}.")
    chosen = "keras" in sys.modules or "KERAS_BACKEND" in os.environ or _configured_backend() != "tensorflow"
    if not chosen and not find_spec("tensorflow"):
        installed = [backend for backend, module in _BACKENDS.items() if find_spec(module)]
        if not installed:
            raise ImportError(f"Keras is installed, but nothing for it to run on: {_EXTRAS}.")
        os.environ["KERAS_BACKEND"] = installed[0]
        logger.warning("Keras runs on %s, since TensorFlow is not installed; KERAS_BACKEND chooses.", installed[0])
    keras = importlib.import_module("keras")
    _check_version(keras)
    if _is_command:
        keras.config.set_image_data_format("channels_last")
    return keras


def import_tensorflow_keras() -> Any:
    """Import ``tensorflow.keras``: Keras 3, or ``tf_keras`` where ``TF_USE_LEGACY_KERAS=1``.

    Raises:
        ImportError: TensorFlow, or the Keras that it should use, is missing, or Keras is too old.
    """
    if find_spec("tensorflow") is None:
        raise missing(
            "efficientnet.tfkeras needs TensorFlow", "tensorflow",
            "; efficientnet.keras runs on JAX, PyTorch and OpenVINO as well",
        )  # fmt: skip
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True") and find_spec("tf_keras") is None:
        raise missing("TF_USE_LEGACY_KERAS asks for legacy Keras 2", "legacy")
    from tensorflow import keras

    _check_version(keras)
    return keras


def _check_version(keras: Any) -> None:
    """Check that a Keras 3 is not too old: some open files of Keras 2 wrongly, or run code that is in a file."""
    version: str = getattr(keras, "__version__", "")  # legacy Keras has none, as a part of TensorFlow
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ImportError(f"Keras {version} is installed: expected {oldest} or later. pip install -U 'keras>={oldest}'")


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Let Keras make or open the deepest networks: it calls itself once for each layer on the way through them.

    V2-XL has more in a row than Python's usual limit of 1000 calls.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _configured_backend() -> str:
    folder = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        return str(json.loads((Path(folder) / "keras.json").read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError):
        return "tensorflow"
