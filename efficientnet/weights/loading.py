"""Weights for a model: finding the requested ones, and putting them into the model, all or nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoints
from ..checkpoints import Facts, Reading, tf_checkpoint
from ..checkpoints.arrays import Stored, release
from ..checkpoints.channels import with_channels
from ..checkpoints.facts import UNKNOWN
from ..checkpoints.soundness import check_array
from ..common.text import get_logger
from ..errors import CheckpointError
from ..family.arrays import role
from ..family.variants import Variant
from . import addresses, download, finding, hubs, published
from .finding import Trained
from .published import PublishedWeights, list_weights, weights_info

__all__ = ["PublishedWeights", "Weights", "find", "list_weights", "load", "weights_info"]

logger = get_logger()


@dataclass(frozen=True)
class Weights:
    """Weights that are ready for a model.

    Attributes:
        reading: File, read as weights of the variant.
        trained: Settings of a network that match the weights.
        fresh_classifier: Whether the model gets a new classifier, since the file has other classes or none.
    """

    reading: Reading
    trained: Trained
    fresh_classifier: bool = False

    def report(self, activation: Any) -> None:
        """Log the facts that the file does not say, and a last activation that differs from the file's.

        Args:
            activation: Activation of the model's classifier, as the constructor takes it.
        """
        if message := finding.unknown_message(self.trained, self.reading.variant):
            logger.warning("%s %s", self.reading.path, message)
        saved = self.trained.facts.activation
        if activation == "softmax" and saved not in (None, "softmax") and not self.fresh_classifier:
            logger.warning(
                "%s: the model in it ends in %r, the new one in 'softmax'; classifier_activation=%r keeps it.",
                self.reading.path, saved, None if saved == "linear" else saved,
            )  # fmt: skip


def find(
    weights: str | os.PathLike[str] | Weights,
    variant: Variant,
    include_top: bool = True,
    classes: int | None = None,
    given: Facts = UNKNOWN,
) -> Weights:
    """Find, and if necessary download, the file behind ``weights=``; no number is read yet.

    Args:
        weights: Published set of the variant, as ``published.resolve`` takes it; a path, as
            ``checkpoints.open_checkpoint`` does; or an address, as :func:`locate` does. Weights that were found already
            are returned unchanged.
        variant: Variant of the network to fill.
        include_top: Whether the network has a classifier.
        classes: Number of its classes; the weights' by default. A classifier of another size is left out.
        given: Padding, epsilon and preprocessing from the user, which take precedence over the file.

    Raises:
        ValueError: There is no such set of this variant and no such file, or the file is not of this variant.
        OSError: The file cannot be fetched or read.
    """
    if isinstance(weights, Weights):
        return weights
    text = os.fspath(weights)
    chosen = published.resolve(text, variant, with_top=include_top)
    if chosen is None:
        reading = _read(_locate(text, variant), variant)
        trained = _trained_with(text, finding.of_reading(reading), variant, given)
        fresh = _is_fresh(text, variant, reading.classes, classes if include_top else None)
        return Weights(reading, trained, fresh)
    fresh = _is_fresh(text, variant, chosen.classes, classes if include_top else None)
    if fresh:
        chosen = published.resolve(text, variant, with_top=False) or chosen
    reading = _read(published.path(chosen), variant)
    return Weights(reading, _trained_with(text, finding.of_set(chosen), variant, given), fresh)


def _is_fresh(name: str, variant: Variant, trained: int | None, wanted: int | None) -> bool:
    """Return whether the model gets a new classifier, and log it.

    Args:
        name: Name of the weights.
        variant: Variant of the network to fill.
        trained: Number of classes of the weights; None for no classifier.
        wanted: Number of classes of the model; None for no classifier.
    """
    # A request for ImageNet's classes from a file without a classifier is probably a mistake: an error later.
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
    """Put weights into a model, all or nothing.

    Every array of the network in the file is used exactly once, and every weight of the model gets one. Layers of a top
    that the model does not have may stay unused, and a new classifier stays unchanged.

    Args:
        model: Keras model that ``efficientnet.model.build`` made of the variant.
        weights: Weights from :func:`find`.
        skip_layers: Names of layers in front of the network that are not part of it.

    Raises:
        CheckpointError: The file's arrays do not fit the model; the message says which differ and how.
    """
    layers = [layer for layer in model.layers if layer.name not in skip_layers and layer.weights]
    if weights.fresh_classifier:
        layers = [layer for layer in layers if layer.name != "probs"]
    expected = {
        f"{layer.name}/{role(weight.name)}": tuple(weight.shape) for layer in layers for weight in layer.weights
    }
    reading = with_channels(weights.reading, expected["stem_conv/kernel"][2])
    arrays = _without_background(reading, expected)
    _check_fits(expected, arrays, weights.reading.path)
    for layer in layers:
        names = [f"{layer.name}/{role(weight.name)}" for weight in layer.weights]
        values = [np.asarray(arrays[name]) for name in names]
        for name, value in zip(names, values, strict=True):
            check_array(name, value, weights.reading.path)
        layer.set_weights(values)
        for value in values:
            release(value)
    checkpoints.report(weights.reading)


def _trained_with(name: str, said: Facts, variant: Variant, given: Facts) -> Trained:
    for contradiction in finding.contradictions(said, given):
        logger.warning("%s %s", name, finding.contradiction_message(contradiction))
    return finding.trained_with(said, variant, given)


def _locate(text: str, variant: Variant) -> Path:
    path = locate(text)
    if not path.exists() and not tf_checkpoint.recognizes(path):
        raise ValueError(published.unknown_message(text, variant))
    return path


def locate(text: str) -> Path:
    """Return the path behind a path or an address: of a file, or of a folder of a repository on a hub.

    In the folder of downloads the name of a file from an address begins with its hash, so that files of one name stay
    apart.

    Args:
        text: Path; ``https://…#sha256=…``; ``hf://owner/repository[/file]`` or
            ``kaggle://owner/model/framework/variation/version[/file]``, both with or without ``#sha256=…``, the hash of
            the file of weights.

    Raises:
        ValueError: An address is incomplete.
        DownloadError: A file cannot be downloaded.
    """
    if not addresses.is_address(text):
        return Path(text).expanduser()
    address, sharp, _ = text.partition("#")
    place = addresses.on_hub(address)
    file_hash = _hash(text) if sharp or not address.startswith(("hf://", "kaggle://")) else None
    if place is not None and hubs.is_repository(place):
        return hubs.fetch(place, file_hash)
    filename = None
    if place is None and file_hash:  # others may have the same name
        digest = file_hash.partition(":")[2].lower()
        filename = f"{digest[:8]}-{addresses.default_name(address, hashed=True)}"
    return download.fetch(address, file_hash=file_hash, filename=filename)


def _hash(text: str) -> str:
    url, _, file_hash = text.partition("#")
    if not re.fullmatch(r"(sha256|md5)=[0-9a-fA-F]+", file_hash):
        raise ValueError(
            f"weights={text!r}: a URL has to carry the hash that its file is checked against; "
            f"append it, as in {url}#sha256=0123… (`sha256sum FILE` prints it)."
        )
    return file_hash.replace("=", ":")


def _read(path: Path, variant: Variant) -> Reading:
    return checkpoints.accept(checkpoints.read_checkpoint(path, variant))


def _without_background(reading: Reading, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Stored]:
    """Return the arrays; drop the background, the first of 1,001 classes, if the model has 1,000."""
    if reading.classes != 1001 or expected.get("probs/bias") != (1000,):
        return reading.arrays
    cut = {name: reading.arrays[name].cut(1) for name in ("probs/kernel", "probs/bias")}
    return {**reading.arrays, **cut}


def _check_fits(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Stored], path: Path) -> None:
    """Check that a file of the right variant also has the model's classes and top."""
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
    if unequal:
        classes = arrays["probs/bias"].shape[0]
        raise CheckpointError(
            f"{path}: its classifier has {classes} classes, the model {expected['probs/bias'][0]}. Pass "
            f"classes={classes}, or include_top=False and put your own classifier on top."
        )
