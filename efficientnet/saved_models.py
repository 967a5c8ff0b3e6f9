"""Opening whole models that older packages saved."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import marks
from .backends import deep_recursion
from .checkpoints import CheckpointError, describe
from .checkpoints.hdf5 import SIGNATURE
from .checkpoints.keras_h5 import SavedModel, read_saved_model, replace_model_config
from .checkpoints.zip_members import check_sizes, read_member
from .files import check_is_file
from .json_files import parse
from .notes import read_crop, read_preprocessing
from .text import plain

logger = logging.getLogger("efficientnet")

# What a .keras file, a zip archive, holds besides its weights.
_CONFIG, _METADATA = "config.json", "metadata.json"

# What Keras 2 wrote down of these layers though it has no effect on them; Keras 3 refuses it.
_IDLE_KEYS = {
    "DepthwiseConv2D": {"groups"},
    "Conv2DTranspose": {"groups"},
    "SeparableConv2D": {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"},
}


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path, there or not, is that of a whole saved model, and no variant's name."""
    return Path(path).suffix in (".keras", ".h5", ".hdf5") or Path(path).is_dir()


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
    """Opens a whole saved model of any age: ``.keras``, ``.h5`` or a SavedModel folder.

    Legacy Keras opens what every Keras before it saved. Keras 3 refuses much of that: so its configuration is
    put right in a copy of the file, which itself stays as it is, and so do Keras' own layers. Such a model comes
    without optimiser, loss and metrics, whose saved form Keras 3 cannot train on: compile it to train.

    Args:
        path: of the file or folder. A file's kind is told by its content, whatever its name.
        backend, layers, models, utils: the modules of the Keras to open it with.
        **kwargs: passed on to Keras' ``load_model``: ``compile``, ``custom_objects``, ``safe_mode``.

    Returns:
        The Keras model.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: it is damaged, no whole model, or of a kind that Keras cannot open.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"No model at {path}: expected a .keras or .h5 file, or a SavedModel folder.")
    # As a scope, since Keras 3 prefers what is registered for the whole process to what its load_model is given.
    known = {**custom_objects(layers), **(kwargs.pop("custom_objects", None) or {})}
    with utils.custom_object_scope(known), deep_recursion(), _explained(path):
        if path.is_dir():
            return models.load_model(os.fspath(path), **kwargs)
        check_is_file(path)
        model = _load_file(path, layers, models, **kwargs)
    marks.remember(model, marks.Mark(read_preprocessing(path), read_crop(path)))
    return model


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Makes a ValueError of whatever Keras raises of a file that it cannot open; damaged ones raise nearly anything."""
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        unknown = re.search(r"Could not locate class '([^']+)'|Unknown layer: '?(\w+)", str(error))
        if unknown:
            raise ValueError(
                f"{plain(path)} has a layer of class {unknown[1] or unknown[2]}, which is not one of Keras' own: "
                "import what defines it and give load_model custom_objects=; the commands and compile() take models "
                "of Keras' layers only."
            ) from error
        raise ValueError(
            f"{plain(path)} cannot be opened: {type(error).__name__}: {plain(str(error)[:500])}. It is damaged, or of "
            "a kind that this Keras does not read: save or download it again."
        ) from error


def _load_file(path: Path, layers: Any, models: Any, **kwargs: Any) -> Any:
    suffix, saved = _inspect(path)
    is_old = int(saved.keras_version.split(".")[0]) < 3 and not layers.Layer.__module__.startswith("tf_keras")
    if path.suffix == suffix and not is_old:
        return models.load_model(os.fspath(path), **kwargs)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{suffix}"  # Keras tells the kind by the suffix
        shutil.copyfile(path, copy)
        if is_old:
            if saved.compiled and kwargs.get("compile", True):
                logger.warning(
                    "%s was compiled by Keras %s, whose optimiser, loss and metrics Keras 3 does not take over: "
                    "compile the model to train it.", path, saved.keras_version,
                )  # fmt: skip
            kwargs["compile"] = False
            _replace_config(copy, _modernise(saved.config))
        return models.load_model(os.fspath(copy), **kwargs)


def _inspect(path: Path) -> tuple[str, SavedModel]:
    """The suffix that a file should have, and what it says about the model in it."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(SIGNATURE):
        return ".h5", read_saved_model(path)
    contents = [read_member(path, name) for name in (_CONFIG, _METADATA)]
    if None not in contents:
        check_sizes(path)
        config, metadata = (parse(content or b"", f"{path}: its configuration") for content in contents)
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        if not isinstance(config, dict) or not re.match(r"\d+\.", str(version)):
            raise CheckpointError(
                f"{plain(path)}: its {_CONFIG} or {_METADATA} is not what Keras writes: download or save it again."
            )
        return ".keras", SavedModel(config, str(version), bool(config.get("compile_config")))
    raise CheckpointError(
        f"{path} {describe(start)}. Opened are whole models, as .keras, .h5 or a SavedModel folder: download or save "
        "it again."
    )


def _replace_config(path: Path, config: Any) -> None:
    if path.suffix == ".h5":
        replace_model_config(path, config)
        return
    old = path.rename(path.with_suffix(".old"))
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, json.dumps(config) if name == _CONFIG else source.read(name))


def _modernise(model: Any) -> Any:
    """The configuration of a model of Keras 2 as Keras 3 takes it; nothing that has an effect is dropped."""
    model = _modernise_layer(model)
    if model["class_name"] in ("Functional", "Model", "Sequential"):
        # A .keras file says where its class is defined, which was elsewhere in Keras 2.
        model["module"] = "keras"
        model["class_name"] = "Sequential" if model["class_name"] == "Sequential" else "Model"
    return model


def _modernise_layer(layer: dict[str, Any]) -> dict[str, Any]:
    """One layer; where it is a model itself, with all of its layers."""
    # Without these, as .h5 files have it, Keras 3 reads a configuration as one of Keras 2.
    layer = {key: value for key, value in layer.items() if key not in ("module", "registered_name", "build_config")}
    # As TensorFlow 1.13 called it.
    if layer["class_name"] in ("BatchNormalizationV1", "BatchNormalizationV2"):
        layer["class_name"] = "BatchNormalization"
    idle = _IDLE_KEYS.get(layer["class_name"], set())
    config = layer["config"] = {key: value for key, value in layer["config"].items() if key not in idle}
    # A mixed precision policy by its name.
    if isinstance(config.get("dtype"), dict):
        config["dtype"] = config["dtype"]["config"]["name"]
    for key, value in config.items():
        if key.endswith("_initializer") and isinstance(value, dict):
            # TensorFlow 1 wrote a dtype, which is the layer's own.
            config[key] = {**value, "config": {k: v for k, v in value["config"].items() if k != "dtype"}}
        elif isinstance(value, dict) and isinstance(value.get("config"), dict) and "class_name" in value:
            config[key] = _modernise_layer(value)  # the layer in a wrapper such as TimeDistributed
    if "layers" in config:
        config["layers"] = [_modernise_layer(inner) for inner in config["layers"]]
    if "output_layers" in config:
        _modernise_graph(config)
    return layer


def _modernise_graph(config: dict[str, Any]) -> None:
    """How a functional model's layers are connected: references [layer, call, output, …]."""
    # A single input or output is that tensor, where Keras 3 makes a list out of a list of one.
    for key in ("input_layers", "output_layers"):
        if len(config[key]) == 1:
            config[key] = config[key][0]
    # The calls of a model within the model are counted from 1 in Keras 2, from 0 in Keras 3.
    nested = {layer["name"] for layer in config["layers"] if "layers" in layer["config"]}
    for layer in config["layers"]:
        layer["inbound_nodes"] = _count_from_0(layer["inbound_nodes"], nested)


def _count_from_0(node: Any, nested: set[str]) -> Any:
    if not isinstance(node, list):
        return node
    if len(node) >= 3 and isinstance(node[0], str):
        name, call, *rest = node
        return [name, call - 1 if name in nested else call, *rest]
    return [_count_from_0(item, nested) for item in node]
