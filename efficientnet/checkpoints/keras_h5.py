"""Reads the HDF5 files that Keras writes, without building anything from them.

Two layouts, told apart by content: Keras 2's names every layer and weight (a file of weights has them at
its root, a whole model under ``model_weights``); Keras 3's ``.weights.h5`` numbers them by class of layer.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from efficientnet.checkpoints import CheckpointError

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# In the order in which Keras keeps the weights of a layer; a layer without bias or scale has fewer.
_ROLES = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
}


def read(path: str | PathLike[str], layers: Sequence[tuple[str, str]]) -> Mapping[str, np.ndarray]:
    """The arrays of a file, named as ours: ``"stem_conv/kernel"``, ``"stem_bn/moving_mean"``, …

    Args:
        path: an HDF5 file.
        layers: name and class name of each layer that the file may hold, in order. Only Keras 3's layout needs
            them, since such a file says no more than "the third Conv2D"; further ones keep that for a name.

    Raises:
        CheckpointError: the file is damaged or holds no Keras weights.
    """
    with _opened(path) as file:
        root = file.get("model_weights", file)
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            return _read_keras2(root)
        if "layers" in root or "_layer_checkpoint_dependencies" in root:
            return _read_keras3(root, layers)
        raise CheckpointError(
            f"{path} is an HDF5 file, but not of Keras: it holds {', '.join(map(str, list(file)[:5])) or 'nothing'}. "
            "Give a file that model.save_weights or model.save wrote."
        )


@contextlib.contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Any]:
    """An HDF5 file to read from, whatever h5py finds wrong with it being one kind of error."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except CheckpointError:
        raise
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a damaged or incomplete HDF5 file ({error}). Delete it and download or save it again."
        ) from error


def role(weight_name: str) -> str:
    """``"block1a_dwconv/depthwise_kernel:0"`` -> ``"kernel"``: Keras 2 and 3 name one weight differently."""
    last = weight_name.rsplit("/", 1)[-1].split(":", 1)[0]
    return "kernel" if last == "depthwise_kernel" else last


def _read_keras2(root: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for layer in _texts(_attribute(root.attrs, "layer_names")):
        for weight in _texts(_attribute(root[layer].attrs, "weight_names")):
            arrays[f"{layer}/{role(weight)}"] = np.asarray(root[layer][weight])
    return arrays


def _read_keras3(root: Any, layers: Iterable[tuple[str, str]]) -> dict[str, np.ndarray]:
    stored = root["layers"] if "layers" in root else root["_layer_checkpoint_dependencies"]
    names: dict[str, str] = {}
    count: dict[str, int] = {}
    for name, kind in layers:
        group = _snake_case(kind)
        names[f"{group}_{count[group]}" if group in count else group] = name
        count[group] = count.get(group, 0) + 1
    roles = {_snake_case(kind): parts for kind, parts in _ROLES.items()}
    arrays = {}
    for group in stored:
        parts = roles.get(re.sub(r"_\d+$", "", group), ())
        for index, variable in enumerate(sorted(stored[group].get("vars", ()))):
            part = parts[index] if index < len(parts) else variable
            arrays[f"{names.get(group, group)}/{part}"] = np.asarray(stored[group]["vars"][variable])
    return arrays


def _attribute(attributes: Any, name: str) -> list[Any]:
    """A list attribute, which Keras cuts into ``name0``, ``name1``, … where it outgrows HDF5's 64 KB."""
    if name in attributes:
        return list(attributes[name])
    values: list[Any] = []
    chunk = 0
    while f"{name}{chunk}" in attributes:
        values.extend(attributes[f"{name}{chunk}"])
        chunk += 1
    return values


def _texts(values: Iterable[bytes | str]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _snake_case(name: str) -> str:
    """Keras' own rule for the names of groups: ``"DepthwiseConv2D"`` -> ``"depthwise_conv2d"``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class SavedModel(NamedTuple):
    """What a file of a whole model says about it.

    Attributes:
        config: the model's configuration, as parsed JSON.
        keras_version: of the Keras that saved it: ``"2.2.4-tf"``.
        compiled: whether optimiser, loss and metrics are in the file.
    """

    config: Any
    keras_version: str
    compiled: bool


def read_saved_model(path: str | PathLike[str]) -> SavedModel:
    """What a whole saved model says about itself.

    Raises:
        CheckpointError: the file is damaged or holds weights alone.
    """
    with _opened(path) as file:
        if "model_config" not in file.attrs:
            raise CheckpointError(
                f"{path} holds weights, not a whole model: build the model and pass the file as weights=, "
                "or call model.load_weights."
            )
        config, version = _texts([file.attrs["model_config"], file.attrs.get("keras_version", "1")])
        return SavedModel(json.loads(config), version, "training_config" in file.attrs)


def replace_model_config(path: str | PathLike[str], config: Any) -> None:
    """Writes another configuration into the file of a whole saved model."""
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
