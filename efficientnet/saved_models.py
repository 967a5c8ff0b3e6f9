"""Opening whole models that older packages saved."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .checkpoints import keras_h5


def custom_objects(layers: Any) -> dict[str, Any]:
    """What models saved by the older package name and Keras does not know.

    Both are nowadays part of Keras itself, so a model saved again needs neither.
    """
    return {"swish": layers.Activation("swish").activation, "FixedDropout": layers.Dropout}


def load_model(
    path: str | os.PathLike[str],
    *,
    backend: Any = None,
    layers: Any = None,
    models: Any = None,
    utils: Any = None,
    **kwargs: Any,
) -> Any:
    """Opens a whole saved model of any age: ``.keras``, SavedModel, or ``.h5`` as old as the older package.

    What today's Keras refuses in such an ``.h5`` is put right in a copy of the file; the file itself and
    Keras' own layers stay as they are.

    Args:
        path: of the file or folder.
        backend, layers, models, utils: the modules of the Keras to open it with.
        **kwargs: passed on to Keras' ``load_model``: ``compile``, ``custom_objects``, ``safe_mode``.

    Returns:
        The Keras model.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: Keras cannot open it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"No model at {path}: expected a .keras or .h5 file, or a SavedModel folder.")
    kwargs["custom_objects"] = {**custom_objects(layers), **(kwargs.get("custom_objects") or {})}
    if path.is_dir() or not _starts_with(path, keras_h5.SIGNATURE):
        return models.load_model(os.fspath(path), **kwargs)
    config = keras_h5.model_config(path)
    modern = _modernise(config)
    if modern == config and path.suffix in (".h5", ".hdf5"):
        return models.load_model(os.fspath(path), **kwargs)
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells HDF5 by the suffix.
        copy = Path(folder) / "model.h5"
        shutil.copyfile(path, copy)
        keras_h5.replace_model_config(copy, modern)
        return models.load_model(os.fspath(copy), **kwargs)


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _modernise(node: Any) -> Any:
    """A saved configuration as today's Keras takes it.

    Dropped or simplified is only what has no effect: one group in a depthwise convolution, the dtype that
    TensorFlow 1 wrote into initialisers, a list around batch norm's single axis.
    """
    if isinstance(node, list):
        return [_modernise(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _modernise(value) for key, value in node.items()}
    config = node.get("config")
    if isinstance(config, dict):
        kind = node.get("class_name")
        if kind == "DepthwiseConv2D":
            config.pop("groups", None)
        elif kind == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
            config["axis"] = config["axis"][0]
        for key, value in config.items():
            if key.endswith("_initializer") and isinstance(value, dict):
                value.get("config", {}).pop("dtype", None)
    return node
