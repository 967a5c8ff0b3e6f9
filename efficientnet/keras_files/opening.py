"""Opening whole models that older packages saved."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from ..checkpoints import describe_format, hub_folder
from ..checkpoints.hdf5 import SIGNATURE
from ..checkpoints.keras_h5 import SavedModel, read_saved_model, replace_model_config
from ..checkpoints.marks import Mark
from ..checkpoints.zip_members import check_sizes, read_member
from ..common import arguments
from ..common.files import check_is_file
from ..common.json_files import parse
from ..common.packages import install
from ..common.text import get_logger, plain
from ..errors import CheckpointError
from ..exported_files.formats import format_of
from ..family.variants import get_variant
from ..keras_graph import marks
from ..network.backends import deep_recursion
from . import keras2_config, keras3_operations, legacy_code
from .metadata import read_crop, read_preprocessing

logger = get_logger()

# What a .keras file, a zip archive, holds besides its weights.
_CONFIG, _METADATA = "config.json", "metadata.json"

# What `efficientnet train` leaves in its folder: its settings, and the model once an epoch is over.
RUN_SETTINGS, RUN_MODEL = "run.json", "model.keras"


def is_saved_model(name: str) -> bool:
    """Return whether a name is the path of a saved or exported model, there or not, and not a variant's name.

    A variant's name is a variant also where there is a folder of that name, ``./NAME``: what a command means must not
    depend on the folder that it runs in.
    """
    if os.path.isdir(name):
        return not _is_variant(name)
    return Path(name).suffix in (".keras", ".h5", ".hdf5") or format_of(name) is not None


def _is_variant(name: str) -> bool:
    try:
        get_variant(name)
    except (ValueError, OSError):
        return False
    return True


def locate(path: str | os.PathLike[str]) -> Path:
    """Return the path of the model: the path itself, or the model in the folder of a training.

    Raises:
        TypeError, ValueError: The argument is not a path.
        CheckpointError: The training has written no model yet.
    """
    found = Path(arguments.path("path", path, "the path of a saved model")).expanduser()
    if not (found / RUN_SETTINGS).is_file():
        return found
    if not (found / RUN_MODEL).is_file():
        raise CheckpointError(
            f"{plain(found)} is the folder of a training that has not written {RUN_MODEL} yet: go on with it, "
            f"`efficientnet train --resume --out {plain(found)}`."
        )
    return found / RUN_MODEL


def check_exists(path: Path) -> None:
    """Check that there is a file or folder.

    Raises:
        FileNotFoundError: There is nothing at the path; the message says what could be.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"No model at {plain(path)}: expected a .keras or .h5 file, a SavedModel folder, or the folder of a "
            "training." + _built_otherwise(path)
        )


def custom_objects(layers: Any) -> dict[str, Any]:
    """Return the objects in the older package's saved models that Keras does not know.

    Both are now part of Keras itself, so a model saved again needs neither.
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
    """Open a whole saved model of any age: ``.keras``, ``.h5`` or a SavedModel folder.

    Legacy Keras opens what every Keras before it saved. Keras 3 refuses much of that: so its configuration is
    put right in a copy of the file, which itself stays unchanged, and so do Keras' own layers. Such a model comes
    without optimizer, loss and metrics, whose saved form Keras 3 cannot train on: compile it to train.

    Args:
        path: Path of the file or folder. A file's kind is detected by its content, whatever its name.
        backend, layers, models, utils: The modules of the Keras to open it with.
        **kwargs: Passed on to Keras' ``load_model``: ``compile``, ``custom_objects``, ``safe_mode``.

    Returns:
        The Keras model.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: The file is damaged, not a whole model, or of a kind that Keras cannot open.

    Example:
        >>> EfficientNet(0.25, 0.25, 32, weights=None, classes=5).save("small.keras")
        >>> load_model("small.keras").output_shape
        (None, 5)
    """
    path = locate(path)
    check_exists(path)
    own = kwargs.pop("custom_objects", None) or {}
    if not isinstance(own, Mapping):
        raise TypeError(f"custom_objects={own!r}: expected a dictionary of names and the classes or functions.")
    inspect.signature(models.load_model).bind(path, **kwargs)  # refuses unknown options
    # As a scope, since Keras 3 prefers what is registered for the whole process to what its load_model is given.
    known = {**custom_objects(layers), **own}
    with utils.custom_object_scope(known), deep_recursion(), _explained(path):
        if path.is_dir():
            return _load_folder(path, layers, models, {*known, *utils.get_custom_objects()}, **kwargs)
        check_is_file(path)
        model = _load_file(path, layers, models, {*known, *utils.get_custom_objects()}, **kwargs)
    marks.remember(model, Mark(read_preprocessing(path), read_crop(path)))
    return model


def _built_otherwise(path: Path) -> str:
    """Return a message if a variant's name, or nearly one, is given for a model; empty for other names."""
    if path.suffix or path.name != os.fspath(path):
        return ""
    try:
        variant = get_variant(path.name)
    except ValueError as error:  # its message has the nearest names
        return f" {error}"
    return (
        f" {path} is the name of a variant: build {variant.name} with efficientnet.keras.create({path.name!r}), which "
        "gives it weights, too."
    )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever Keras raises about a file into a ValueError; damaged files raise nearly anything."""
    try:
        yield
    except (CheckpointError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        unknown = re.search(r"Could not locate class '([^']+)'|Unknown layer: '?(\w+)", str(error))
        if unknown:
            raise ValueError(
                f"{plain(path)} has a layer of class {unknown[1] or unknown[2]}, which is not one of Keras' own: "
                "import what defines it and give load_model custom_objects=; the commands and compile() take models "
                "of Keras' layers only."
            ) from None
        if isinstance(error, ValueError) and os.fspath(path) in str(error):
            raise
        raise ValueError(
            f"{plain(path)} cannot be opened: {type(error).__name__}: {plain(str(error)[:500])}. It is damaged, or of "
            "a kind that this Keras does not read: save or download it again."
        ) from None


def _load_folder(path: Path, layers: Any, models: Any, known: Collection[str], **kwargs: Any) -> Any:
    if not (path / "saved_model.pb").is_file():
        found = sorted(file.name for pattern in ("*.keras", "*.h5") for file in path.glob(pattern))
        advice = f"give one of its files, such as {path / found[0]}" if found else "give the file of a model"
        if _holds_weights(path):
            advice = (
                f"its weights go with a variant, weights={os.fspath(path)!r} (in a command --model VARIANT --weights)"
            )
        raise CheckpointError(f"{path} is a folder, but no SavedModel: it holds no saved_model.pb; {advice}.")
    if not _is_legacy(layers):
        raise CheckpointError(
            f"{path} is a SavedModel folder, which Keras 3 does not open: set TF_USE_LEGACY_KERAS=1, open it with "
            f"efficientnet.tfkeras.load_model ({install('legacy')}) and save it as .keras, or call it "
            f"as keras.layers.TFSMLayer({os.fspath(path)!r}, call_endpoint='serving_default')."
        )
    configs = [parse(text, f"{path}: its configuration") for text in _layer_texts(path) if text]
    _check_packages(path, configs, known)
    if kwargs.get("safe_mode", True):
        legacy_code.refuse(path, configs, known)
    return models.load_model(os.fspath(path), **kwargs)


def _layer_texts(path: Path) -> list[str]:
    """Return the description of each layer in a SavedModel folder, as JSON.

    Keras writes it into a separate file; before TensorFlow 2.5 it was in the graph, which is still searched.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

    if not (path / "keras_metadata.pb").is_file():
        graph = tf.__internal__.saved_model.parse_saved_model(os.fspath(path)).meta_graphs[0]
        return [node.user_object.metadata for node in graph.object_graph_def.nodes]
    try:
        return [node.metadata for node in SavedMetadata.FromString((path / "keras_metadata.pb").read_bytes()).nodes]
    except DecodeError:
        raise CheckpointError(f"{plain(path)}: its keras_metadata.pb is damaged: save or download it again.") from None


def _holds_weights(folder: Path) -> bool:
    """Return whether a folder has weights as hubs have them, or a checkpoint of TensorFlow."""
    return bool(hub_folder.find_weights(folder)) or any(folder.glob("*.index"))


def _is_legacy(layers: Any) -> bool:
    return bool(layers.Layer.__module__.startswith("tf_keras"))


def _load_file(path: Path, layers: Any, models: Any, known: Collection[str], **kwargs: Any) -> Any:
    suffix, saved = _inspect(path)
    _check_packages(path, saved.config, known)
    is_of_keras_2, is_legacy = int(saved.keras_version.split(".")[0]) < 3, _is_legacy(layers)
    is_old = is_of_keras_2 and not is_legacy
    if (is_old or is_legacy) and kwargs.get("safe_mode", True):
        legacy_code.refuse(path, saved.config, known)
    with tempfile.TemporaryDirectory() as folder:
        opened = path
        try:
            if path.suffix != suffix or is_old:
                opened = Path(folder) / f"model{suffix}"  # Keras detects the kind from the suffix
                shutil.copyfile(path, opened)
            if is_old:
                if saved.compiled and kwargs.get("compile", True):
                    logger.warning(
                        "%s was compiled by Keras %s, whose optimizer, loss and metrics Keras 3 does not take over: "
                        "compile the model to train it.", path, saved.keras_version,
                    )  # fmt: skip
                kwargs["compile"] = False
                _replace_config(opened, keras2_config.modernise(saved.config, layers, known))
            elif suffix == ".h5" and not is_legacy:
                opened = _with_operations(opened, saved.config, Path(folder))
            return models.load_model(os.fspath(opened), **kwargs)
        except keras2_config.Refusal as error:
            raise CheckpointError(_only_legacy(path, saved, str(error))) from None
        except Exception as error:  # errors of any class: Keras meets anything in a file
            if "safe_mode" in str(error):  # Keras 3 refuses such parts itself
                legacy_code.refuse(path, saved.config, known)
            if (function := legacy_code.unknown_function(saved.config, known)) is not None:
                raise CheckpointError(
                    f"{path} calls the function {function!r} in a Lambda layer, which is not in the file: pass "
                    f"custom_objects={{{function!r}: {function}}} to load_model."
                ) from None
            if isinstance(error, (OSError, MemoryError)):
                raise
            if is_legacy and not is_of_keras_2:
                raise CheckpointError(
                    f"{plain(path)} was saved by Keras {plain(saved.keras_version)}, which legacy Keras does not open: "
                    "open it with efficientnet.keras.load_model, without TF_USE_LEGACY_KERAS. Its weights can be read "
                    "here: build the network, and give the file as weights=."
                ) from None
            if not is_old:
                raise
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            reason = f"Keras 3 does not open it ({plain(first[:200])})"
            raise CheckpointError(_only_legacy(path, saved, reason)) from None


def _with_operations(path: Path, config: Any, folder: Path) -> Path:
    """Return the file, or a copy in a folder whose operations Keras 3 takes for such."""
    named = keras3_operations.with_modules(config)
    if named is config:
        return path
    changed = Path(shutil.copyfile(path, folder / "operations.h5"))
    _replace_config(changed, named)
    return changed


def _check_packages(path: Path, config: Any, known: Collection[str]) -> None:
    """Refuse a model of another package, such as KerasHub, where that is not installed."""
    missing = next((name for name in legacy_code.packages(config, known) if util.find_spec(name) is None), None)
    if missing is not None:
        raise CheckpointError(
            f"{plain(path)} is made with the Python package {missing}, which cannot be imported here: install it, or "
            "pass its classes as custom_objects=. The weights of a network of the family in it can be read without: "
            "give a variant and the file as weights= (in a command --model VARIANT --weights)."
        )


def _only_legacy(path: Path, saved: SavedModel, reason: str) -> str:
    return (
        f"{path} was saved by Keras {saved.keras_version}, and {reason}. Legacy Keras opens it: {install('legacy')}, "
        "set TF_USE_LEGACY_KERAS=1, open it with efficientnet.tfkeras.load_model, and save its weights with "
        "model.save_weights for a model that you build on Keras 3."
    )


def _inspect(path: Path) -> tuple[str, SavedModel]:
    """Return the suffix that a file should have, and what it says about the model in it."""
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
        f"{path} {describe_format(path, start)}. Opened are whole models, as .keras, .h5 or a SavedModel folder."
    )


def _replace_config(path: Path, config: Any) -> None:
    if path.suffix == ".h5":
        replace_model_config(path, config)
        return
    old = path.rename(path.with_suffix(".old"))
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, json.dumps(config) if name == _CONFIG else source.read(name))
