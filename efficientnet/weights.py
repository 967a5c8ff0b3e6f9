"""Weights for a model: finding what was asked for, and putting it into the model, all or nothing."""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoints, download, registry
from .checkpoints import CheckpointError, Reading, tf_checkpoint
from .checkpoints.arrays import Stored, release
from .checkpoints.keras_h5 import role
from .checkpoints.keras_names import APPLICATIONS, NORMALIZATION
from .checkpoints.torch_names import TIMM, TORCHVISION
from .preprocessing import Scaling
from .registry import WeightSet, list_weights, weights_info
from .variants import Variant

__all__ = ["WeightSet", "Weights", "find", "list_weights", "load", "weights_info"]

logger = logging.getLogger("efficientnet")

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """Weights ready to be put into a model, and what the model has to be like to answer as they were trained.

    Attributes:
        reading: the file, understood as the variant's.
        preprocessing: the mode of ``preprocess_input`` that they were trained with, or its numbers.
        padding: ``"same"`` or ``"symmetric"``.
        epsilon: of the batch norms.
        fresh_classifier: whether the model's classifier is a new one, since the file has other classes or none.
        crop, interpolation: of their evaluation, as in ``WeightSet``; None where they are not known.
    """

    reading: Reading
    preprocessing: str | Scaling
    padding: str
    epsilon: float
    fresh_classifier: bool = False
    crop: float | None = None
    interpolation: str | None = None


def find(
    weights: str | os.PathLike[str],
    variant: Variant,
    include_top: bool = True,
    classes: int | None = None,
    padding: str | None = None,
) -> Weights:
    """Finds, and where necessary downloads, what was given as ``weights=``; no number is read yet.

    Args:
        weights: a published set of the variant, as ``registry.resolve`` takes it; a path, as
            ``checkpoints.open_checkpoint`` does; ``https://…#sha256=…``; ``hf://owner/repository[/file]``.
        variant: the network to be filled.
        include_top: whether it has a classifier.
        classes: of that classifier; as many as the weights have by default. One of another size is left out.
        padding: what the user knows of it, which a file of timm's does not tell.

    Raises:
        ValueError: neither a set of this variant nor a file, or a file that is not of this variant.
        OSError: the file cannot be fetched or read.
    """
    text = os.fspath(weights)
    chosen = registry.resolve(text, variant, with_top=include_top)
    if chosen is None:
        reading = _read(_locate(text, variant), variant)
        if reading.origin is TIMM and padding is None:
            logger.warning(
                "%s: a file of timm does not tell how its network pads; taken is that of timm's tf_ models. For the "
                "others pass padding='symmetric' and batch_norm_epsilon=1e-5.",
                text,
            )
        is_symmetric = reading.origin is TORCHVISION
        return Weights(
            reading,
            _preprocessing(reading),
            "symmetric" if is_symmetric else variant.padding,
            reading.origin.epsilon(variant),
            _is_fresh(text, variant, reading.classes, classes if include_top else None),
        )
    fresh = _is_fresh(text, variant, chosen.classes, classes if include_top else None)
    if fresh:
        chosen = registry.resolve(text, variant, with_top=False) or chosen
    reading = _read(registry.path(chosen), variant)
    facts = chosen.preprocessing, chosen.padding, chosen.epsilon
    return Weights(reading, *facts, fresh, chosen.crop, chosen.interpolation)


def _is_fresh(name: str, variant: Variant, trained: int | None, wanted: int | None) -> bool:
    """Whether the model's classifier is to be a new one, which is logged.

    Args:
        name: of the weights.
        variant: the network to be filled.
        trained: classes of the classifier that the weights have; None for none.
        wanted: those of the model; None for no classifier.
    """
    # Who wants ImageNet's classes of a file without a classifier has probably forgotten what it is: an error later.
    if wanted is None or wanted == trained or (trained is None and wanted == variant.classes):
        return False
    if trained == 1001 and wanted == 1000:  # the background may be left out
        return False
    logger.warning(
        "%s: weights %r have %s, the model %s: the body gets the weights, the classifier 'probs' starts at zero and "
        "has to be trained.",
        variant.name, name, "no classifier of this network" if trained is None else f"{trained} classes", wanted,
    )  # fmt: skip
    return True


def load(model: Any, weights: Weights, skip_layers: Collection[str] = ()) -> None:
    """Puts weights into a model, all or nothing.

    Every array of the network in the file is used exactly once, and every weight of the model gets one; the layers of
    a top that the model does not have may stay unused, and a new classifier stays as it is.

    Args:
        model: a Keras model that ``model.build`` made of the variant.
        weights: from :func:`find`.
        skip_layers: layers that stand in front of the network and are none of its own.

    Raises:
        CheckpointError: the file's arrays are not those of the model; the message says which differ and how.
    """
    layers = [layer for layer in model.layers if layer.name not in skip_layers and layer.weights]
    if weights.fresh_classifier:
        layers = [layer for layer in layers if layer.name != "probs"]
    expected = {
        f"{layer.name}/{role(weight.name)}": tuple(weight.shape) for layer in layers for weight in layer.weights
    }
    arrays = _without_background(weights.reading, expected)
    _check_fits(expected, arrays, weights.reading.path)
    for layer in layers:
        values = [np.asarray(arrays[f"{layer.name}/{role(weight.name)}"]) for weight in layer.weights]
        layer.set_weights(values)
        for value in values:
            release(value)


def _locate(text: str, variant: Variant) -> Path:
    """The file behind a path or an address."""
    if text.startswith("hf://"):
        return download.fetch(text.partition("#")[0], file_hash=_hash(text) if "#" in text else None)
    if re.match(r"https?://", text):
        return download.fetch(text.partition("#")[0], file_hash=_hash(text))
    path = Path(text).expanduser()
    if not path.exists() and not tf_checkpoint.recognises(path):
        raise ValueError(registry.unknown_message(text, variant))
    return path


def _hash(text: str) -> str:
    url, _, file_hash = text.partition("#")
    if not re.fullmatch(r"(sha256|md5)=[0-9a-fA-F]+", file_hash):
        raise ValueError(
            f"weights={text!r}: a URL has to carry the hash that its file is checked against; "
            f"append it, as in {url}#sha256=0123… (`sha256sum FILE` prints it)."
        )
    return file_hash.replace("=", ":")


def _read(path: Path, variant: Variant) -> Reading:
    return checkpoints.accept(checkpoints.read(path, variant))


def _without_background(reading: Reading, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Stored]:
    """The arrays; of 1,001 classes, where the model has 1,000, not the background, which comes first."""
    if reading.classes != 1001 or expected.get("probs/bias") != (1000,):
        return reading.arrays
    cut = {name: reading.arrays[name].cut(1) for name in ("probs/kernel", "probs/bias")}
    return {**reading.arrays, **cut}


def _check_fits(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Stored], path: Path) -> None:
    """That a file of the right variant also has the model's classes, channels and top."""
    missing = [key for key in expected if key not in arrays]
    unequal = [key for key in expected if key in arrays and arrays[key].shape != expected[key]]
    if any(key.startswith("probs/") for key in missing):
        raise CheckpointError(
            f"{path} holds no classifier: pass include_top=False and put your own classifier on top, or classes= of a "
            "new one that you will train."
        )
    if missing:
        raise CheckpointError(
            f"{path} ends with the last block: {', '.join(missing)} are missing from it. Pass features_only=True."
        )
    if "stem_conv/kernel" in unequal:
        channels, wanted = arrays["stem_conv/kernel"].shape[2], expected["stem_conv/kernel"][2]
        raise CheckpointError(
            f"{path} holds weights for inputs of {channels} channels, the model has {wanted}: pass input_shape= with "
            f"{channels} channels and bring the images to as many (grey ones by repeating theirs), or weights=None."
        )
    if unequal:
        classes = arrays["probs/bias"].shape[0]
        raise CheckpointError(
            f"{path}: its classifier has {classes} classes, the model {expected['probs/bias'][0]}. Pass "
            f"classes={classes}, or include_top=False and put your own classifier on top."
        )


def _preprocessing(reading: Reading) -> str | Scaling:
    """How the weights of a file want their pixels, as far as the file tells; else as the variant's published ones."""
    if reading.origin is TORCHVISION:
        return "torch"
    arrays = {
        name.rpartition("/")[2]: stored
        for name, stored in reading.checkpoint.arrays.items()
        if NORMALIZATION.fullmatch(name)
    }
    for mean, variance in (("mean", "variance"), ("0", "1")):
        if mean in arrays and variance in arrays:
            return _normalization(np.ravel(arrays[mean]), np.ravel(arrays[variance]))
    # keras.applications normalises in its graph; in V2-B0 to B3 by constants, which are in no file.
    if any(re.fullmatch(r"normalization(_\d+)?", layer) for layer in reading.checkpoint.layers):
        return "torch"
    if reading.origin is APPLICATIONS and re.fullmatch(r"efficientnetv2-b\d", reading.variant.name):
        return "torch"
    return reading.variant.preprocessing


def _normalization(mean: np.ndarray, variance: np.ndarray) -> str | Scaling:
    """What the layer Rescaling(1 / 255) and the layer Normalization after it come to.

    The published files of V1 keep the standard deviation for a variance, and their graph divides by its root once
    more: https://github.com/tensorflow/tensorflow/issues/49930.
    """
    std = np.array(_IMAGENET_STD)
    if np.allclose(mean, _IMAGENET_MEAN, atol=1e-3) and any(np.allclose(variance, v, rtol=0.01) for v in (std, std**2)):
        return "torch"
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return Scaling(tuple((scale / 255).tolist()), tuple((-mean * scale).tolist()))


# Where the older package kept the same table: found when asked for, in compat.py.
_OLDER_NAMES = ("IMAGENET_WEIGHTS_HASHES", "IMAGENET_WEIGHTS_PATH", "NS_WEIGHTS_HASHES", "NS_WEIGHTS_PATH")


def __getattr__(name: str) -> Any:
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    raise AttributeError(f"module 'efficientnet.weights' has no attribute {name!r}")
