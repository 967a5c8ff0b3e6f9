"""Read the whole models that Keras 3 saves as ``.keras``: a zip archive of a configuration and an HDF5 file.

That file, which is not compressed, is read in place. It numbers its layers; the configuration names them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from typing import Any

import numpy as np

from ..errors import CheckpointError
from . import architecture, facts, hdf5
from .arrays import Stored, map_file
from .base import StoredWeights
from .facts import Facts
from .keras_h5 import guarded, number_layers, read_keras3, reading, unique
from .zip_members import Member, directory, members

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# What this package adds to such an archive; see notes.py.
CLASS_NAMES, PREPROCESSING, CROP = "class_names.json", "preprocessing.json", "crop.json"
TARGETS, THRESHOLDS = "targets.json", "thresholds.json"
_NOTES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "class_names": (CLASS_NAMES, facts.class_names),
    "preprocessing": (PREPROCESSING, facts.preprocessing),
    "crop": (CROP, facts.positive_fraction),
    "targets": (TARGETS, facts.short_text),
    "thresholds": (THRESHOLDS, facts.thresholds),
}

# Models that list their layers in their configuration; others may.
_MODELS = ("Functional", "Sequential", "Model")

# In the order in which Keras keeps the weights of a layer, and the option without which it has no such weight.
_ROLES = {
    "BatchNormalization": {"gamma": "scale", "beta": "center", "moving_mean": "", "moving_variance": ""},
    "Conv2D": {"kernel": "", "bias": "use_bias"},
    "DepthwiseConv2D": {"kernel": "", "bias": "use_bias"},
    "Dense": {"kernel": "", "bias": "use_bias"},
    "Normalization": {"mean": "", "variance": "", "count": ""},
}


def recognizes(path: str | PathLike[str]) -> bool:
    """Return whether a file is a ``.keras`` archive, by its content; False for other or damaged files.

    Raises:
        OSError: The file cannot be opened.
    """
    try:
        return {_CONFIG, _METADATA} <= {info.filename for info in directory(path)}
    except ValueError:
        return False


def read(path: str | PathLike[str]) -> StoredWeights:
    """Read the arrays of a whole model.

    Args:
        path: Path of a ``.keras`` file.

    Returns:
        ``"stem_conv/kernel"``, ``"stem_bn/moving_mean"``, …, also from a model within the model: that one's group
        is put in front only where two layers have one name. Weights of layers that are not known here are numbered:
        ``"my_layer/0"``. The archive's checksum of the weights is checked when the first of them is read.

    Raises:
        CheckpointError: The file is damaged or compressed, or holds no weights.
        OSError: The file cannot be opened.
    """
    with reading(path, ".keras"):
        found = members(path, map_file(path))
        for name in (_CONFIG, _WEIGHTS):
            if name not in found:
                raise CheckpointError(
                    f"{fspath(path)} is an archive without {name}, and so none of a whole model. Save the model again "
                    "with model.save."
                )
        config, weights = found[_CONFIG], found[_WEIGHTS]
        config.check()
        model = facts.parse_object(bytes(config.content[: facts.LARGEST_JSON + 1]))
        arrays, named_there = read_keras3(hdf5.root(weights.content))
        try:
            layers = dict(_layers(model))
            names = [_names(name, layers) for name in arrays]
            # The weights of a functional model name the model itself, too, and those of a custom class its layers.
            others = () if model["class_name"] in _MODELS else named_there
            layer_names = tuple(dict.fromkeys((*map(_name, layers.values()), *others)))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"its {_CONFIG} does not describe a model of layers: {error!r}"[:200]) from None
        check = functools.cache(weights.check)
        named = zip(unique(names), arrays.values(), strict=True)
        checked = {name: guarded(path, _after(check, stored), ".keras") for name, stored in named}
        noted = _notes(found)
        said = architecture.read_architecture(model, checked, noted.preprocessing) | dataclasses.replace(
            noted, preprocessing=None
        )
    return StoredWeights("Keras 3 model, .keras", checked, layers=layer_names, facts=said)


def _notes(found: dict[str, Member]) -> Facts:
    """Read the notes that this package has added to an archive."""
    values = {}
    for name, (member, check) in _NOTES.items():
        if member in found:
            found[member].check()
            values[name] = check(facts.parse(bytes(found[member].content[: facts.LARGEST_JSON + 1])))
    return Facts(**values)


def _after(check: Callable[[], None], stored: Stored) -> Stored:
    def read() -> np.ndarray:
        check()
        return stored.read()

    return Stored(stored.shape, stored.dtype, read)


def _layers(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the group, and the configuration, of each layer of a model and of models within it."""
    layers = model["config"].get("layers", [])
    if model["class_name"] not in _MODELS and not _are_layers(layers):
        return  # a custom class lists none, or means something else by that name
    groups = number_layers((_name(layer), layer["class_name"]) for layer in layers)
    for group, layer in zip(groups, layers, strict=True):
        yield path + group, layer
        if "layers" in layer["config"]:
            yield from _layers(layer, f"{path}{group}/")


def _are_layers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) and "class_name" in value for value in values)


def _name(layer: dict[str, Any]) -> str:
    """Return a layer's name, which a custom class may leave out of its own options."""
    return str(layer["config"].get("name", layer.get("name")))


def _names(array: str, layers: dict[str, Any]) -> tuple[str, str]:
    """Return an array's name by its layer, and a longer one in case that is taken."""
    group, _, index = array.rpartition("/")
    if group not in layers:
        return array, array
    config = layers[group]["config"]
    options = _ROLES.get(layers[group]["class_name"], {})
    roles = [role for role, option in options.items() if config.get(option, True)]
    role = roles[int(index)] if index.isdecimal() and int(index) < len(roles) else index
    name, (around, inside, _) = _name(layers[group]), group.rpartition("/")
    # With its layers' names, a second network in the file is known as one.
    return f"{name}/{role}", f"{around}/{name}/{role}" if inside else f"{group}/{role}"
