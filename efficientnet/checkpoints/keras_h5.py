"""Read the HDF5 files that Keras writes, without building anything from them.

There are two layouts, detected by content: Keras 2's names every layer and weight (a file of weights has them at
its root, a whole model under ``model_weights``); Keras 3's ``.weights.h5`` numbers them by class of layer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.text import some
from ..errors import CheckpointError
from ..family.arrays import role
from . import architecture, facts, hdf5
from .arrays import Stored, map_file
from .base import StoredWeights
from .beside import beside
from .hdf5 import SIGNATURE, Object
from .hdf5_elements import UnusualError

# What Keras 3's layout puts between the names of a layer and of a layer within it.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the latter: Keras 2.13's

# The state of a training and of random numbers, which no prediction uses.
_STATE = ("optimizer", "metrics", "seed_generator")

# Models within models within …: deeper than anyone builds, and not so deep that reading becomes a burden.
_DEEPEST = 16


def recognizes(start: bytes) -> bool:
    """Return whether first bytes are those of a Keras HDF5 file, or of the list of parts of a split one."""
    return start.startswith(SIGNATURE) or _lists_shards(start)


def _lists_shards(start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and b'"weight_map"' in start and b'.weights.h5"' in start


def read(path: str | PathLike[str]) -> StoredWeights:
    """Read the arrays of a file of weights or of a whole model.

    Args:
        path: Path of an HDF5 file, or of the ``.weights.json`` that lists several beside it.

    Returns:
        Keras 2's layout gives ``"stem_conv/kernel"``, ``"stem_bn/moving_mean"``, …, in the model's order, also from
        a model within the model: that model's name is put in front only where two layers have one name.
        Keras 3's gives ``"conv2d_3/0"``, ``"batch_normalization/2"``, … (see :func:`number_layers`),
        ``"functional/conv2d_3/0"`` from a model within the model, and ``"body/conv2d_3/0"`` from one that is the
        attribute ``body`` of a model of a custom class.
        State of optimizers, metrics and random numbers is left out.

    Raises:
        CheckpointError: The file is damaged or holds no Keras weights.
        OSError: The file cannot be opened.
    """
    with reading(path):
        buffer = map_file(path)
        if _lists_shards(bytes(buffer[:512])):
            return _read_shards(Path(path), buffer)
        root = hdf5.root(buffer)
        whole = "model_weights" in root
        named = root["model_weights"] if whole else root
        if (layers := _list(named, "layer_names")) is not None:
            # Keras 3 writes whole models in the layout of Keras 2, and its own version beside them.
            keras = 3 if any(text.startswith("3.") for text in root.texts("keras_version") or ()) else 2
            name, arrays = f"Keras {keras} {'model' if whole else 'weights'}, HDF5", _read_keras2(named, layers)
        elif any(name in root for name in (*_CONTAINERS, "vars")):
            name, arrays, layers = "Keras 3 weights, HDF5", *read_keras3(root)
        else:
            raise CheckpointError(
                f"{fspath(path)} is an HDF5 file, but not of Keras: it holds {some(list(root), most=5) or 'nothing'}. "
                "Give a file that model.save_weights or model.save wrote."
            )
        checked = {key: guarded(path, stored) for key, stored in arrays.items()}
        said = facts.from_hdf5(root)
        if config := root.texts("model_config"):
            graph = architecture.read_architecture(facts.parse(config[0]), checked, said.preprocessing)
            said = graph | dataclasses.replace(said, preprocessing=None)
    return StoredWeights(name, checked, layers=tuple(layers), facts=said)


def _read_shards(path: Path, index: memoryview) -> StoredWeights:
    """Read the files that Keras 3 cuts weights into with ``max_shard_size``, which an index beside them lists."""
    listed = facts.parse_object(bytes(index[: facts.LARGEST_JSON + 1])).get("weight_map")
    places = listed.values() if isinstance(listed, dict) else ()
    names = [name for place in places for name in (place if isinstance(place, list) else [place])]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("it has no weight_map from groups to names of files")
    arrays: dict[str, Stored] = {}
    layers: list[str] = []
    for name in dict.fromkeys(names):
        try:
            shard = beside(path, name)
        except ValueError as error:
            raise ValueError(f"of its file {name[:80]!r}: {error}") from None
        with reading(shard):
            found, in_shard = read_keras3(hdf5.root(map_file(shard)))
        if twice := found.keys() & arrays.keys():
            raise ValueError(f"{name!r} holds {min(twice)[:80]!r}, which is in another of its files, too")
        arrays |= {key: guarded(shard, stored) for key, stored in found.items()}
        layers += in_shard
    return StoredWeights("Keras 3 weights, HDF5, in shards", arrays, layers=tuple(dict.fromkeys(layers)))


@contextlib.contextmanager
def reading(path: str | PathLike[str], kind: str = "HDF5") -> Iterator[None]:
    """Add the file and its kind to errors about its content."""
    try:
        yield
    except CheckpointError:
        raise
    except UnusualError as error:
        raise CheckpointError(
            f"{fspath(path)} has {error}, which is not read here. Load it with the program that wrote it, and save it "
            "again with Keras' model.save_weights, as .weights.h5."
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"{fspath(path)} is a damaged or incomplete {kind} file ({error}). Download it again, or save it anew."
        ) from None


def guarded(path: str | PathLike[str], stored: Stored, kind: str = "HDF5") -> Stored:
    """Return the same array; errors while it is read name the file, too."""

    def read() -> np.ndarray:
        with reading(path, kind):
            return stored.read()

    return Stored(stored.shape, stored.dtype, read)


def number_layers(layers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the groups that Keras 3 puts the weights of a model's layers into, by class and number.

    Args:
        layers: Name and class name of each layer in the model's order, those without weights too.

    Returns:
        Group to layer name: ``{"conv2d": "stem_conv", "conv2d_1": "block1a_se_reduce", …}``.
    """
    names: dict[str, str] = {}
    count: dict[str, int] = {}
    for name, kind in layers:
        group = _snake_case(kind)
        number = count.get(group, 0)
        names[f"{group}_{number}" if number else group] = name
        count[group] = number + 1
    return names


def unique(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return the short name of each pair, or the long one if an earlier pair has the short one.

    Raises:
        ValueError: Two pairs have the same long name.
    """
    taken: dict[str, None] = {}
    for short, long in names:
        name = long if short in taken else short
        if name in taken:
            raise ValueError(f"it holds {name[:80]!r} twice")
        taken[name] = None
    return list(taken)


def _read_keras2(root: Object, layers: list[str]) -> dict[str, Stored]:
    names, arrays = [], []
    for layer in layers:
        group = root[layer]
        weights = _list(group, "weight_names") or []
        # A layer's weights share a scope, which need not be its name; those of a model's layers do not.
        scopes = {weight.rpartition("/")[0] for weight in weights}
        for weight in weights:
            scope = weight.split("/")[:-1] if len(scopes) > 1 else []
            path = [layer, *scope, role(weight)]
            names.append(("/".join(path[-2:]), "/".join(path)))
            arrays.append(group[weight].array())
    return dict(zip(unique(names), arrays, strict=True))


def read_keras3(root: Object) -> tuple[dict[str, Stored], list[str]]:
    """Read the arrays of a file in Keras 3's layout, and the names of its layers.

    Raises:
        ValueError: The file is damaged.
    """
    arrays: dict[str, Stored] = {}
    layers: list[str] = []
    seen: set[int] = set()

    def visit(group: Object, path: tuple[str, ...]) -> None:
        if group.address in seen or len(path) > _DEEPEST:
            raise ValueError("its groups are nested in themselves")
        seen.add(group.address)
        if "vars" in group:
            variables = group["vars"]
            layers.extend(variables.texts("name") or [])
            for index in sorted(variables, key=_natural):
                arrays["/".join((*(path or ("vars",)), index))] = variables[index].array()
        parts = _parts(group)
        for name in sorted(parts, key=_natural):
            visit(parts[name], (*path, name))

    visit(root, ())
    return arrays, layers


def _parts(group: Object) -> dict[str, Object]:
    """Return the groups of a model's layers and of its further attributes, a layer or model each, by name.

    Keras has a model of a custom class write its attributes in the order of the alphabet, and each layer once. Those
    behind ``layers``, which lists them all, are therefore there, and the others beside it.
    """
    children = {name: group[name] for name in group if name != "vars" and name not in _STATE}
    children = {name: child for name, child in children.items() if child.is_group}
    containers = {name: children.pop(name) for name in _CONTAINERS if name in children}
    for container, layers in containers.items():
        for name in layers:
            if layers[name].is_group:
                children[f"{container}/{name}" if name in children else name] = layers[name]
    return children


def _natural(name: str) -> tuple[str, int]:
    """Return a sort key: ``conv2d``, ``conv2d_1``, ``conv2d_10`` in the order of their numbers."""
    stem, number = re.fullmatch(r"(.*?)_?(\d{0,18})", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return stem, int(number or 0)


def _list(group: Object, name: str) -> list[str] | None:
    """Return a list attribute, which Keras cuts into ``name0``, ``name1``, … if it exceeds HDF5's 64 KB."""
    values = group.texts(name)
    chunk = 0
    while values is None or chunk:
        part = group.texts(f"{name}{chunk}")
        if part is None:
            break
        values = (values or []) + part
        chunk += 1
    return values


def _snake_case(name: str) -> str:
    """Apply Keras' rule for names of groups: ``"DepthwiseConv2D"`` -> ``"depthwise_conv2d"``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class SavedModel(NamedTuple):
    """The description of a whole model in its file.

    Attributes:
        config: Configuration of the model, as parsed JSON.
        keras_version: Version of the Keras that saved it: ``"2.2.4-tf"``.
        compiled: Whether the file holds optimizer, loss and metrics.
    """

    config: Any
    keras_version: str
    compiled: bool


def read_saved_model(path: str | PathLike[str]) -> SavedModel:
    """Read the description of a whole saved model.

    Raises:
        CheckpointError: The file is damaged or holds weights alone.
    """
    with reading(path):
        root = hdf5.root(map_file(path))
        config = root.texts("model_config")
        if not config:
            raise CheckpointError(
                f"{fspath(path)} holds weights, not a whole model: build the model and pass the file as weights=, "
                "or call model.load_weights."
            )
        (version,) = root.texts("keras_version") or ["1"]
        return SavedModel(json.loads(config[0]), version, root.texts("training_config") is not None)


def replace_model_config(path: str | PathLike[str], config: Any) -> None:
    """Write another configuration into the file of a whole saved model."""
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
