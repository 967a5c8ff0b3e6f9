"""Conversion of any readable file of weights to other formats, without changing a bit of the weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoints
from ..checkpoints import Facts, Reading, safetensors
from ..checkpoints.arrays import Stored
from ..checkpoints.facts import KEY, UNKNOWN, write_archive, write_hdf5
from ..checkpoints.names.torch import LUKEMELAS, TIMM, TORCHVISION
from ..checkpoints.soundness import check_array
from ..common import arguments
from ..common.files import replacing
from ..common.text import get_logger
from ..family import arrays as layout
from ..family.variants import Variant, get_variant
from ..images.pixel_scaling import Scaling
from ..keras_files import metadata
from ..keras_graph.marks import model_preprocessing
from ..keras_graph.walk import functional
from ..network.inputs import default_side
from ..weights import finding

logger = get_logger()

PYTORCH_ORIGINS = {origin.name: origin for origin in (TIMM, LUKEMELAS, TORCHVISION)}
_KERAS_SUFFIXES = (".keras", ".weights.h5", ".h5")
_PYTORCH_SUFFIXES = (".safetensors", ".pth", ".pt")


def read_weights(path: str | os.PathLike[str], variant: Variant | str | os.PathLike[str] | None = None) -> Reading:
    """Read a file that holds all weights of one variant, whatever else it holds.

    Args:
        path: File or folder, as for ``checkpoints.open_checkpoint``.
        variant: Variant of the weights; detected from the file by default.

    Raises:
        CheckpointError: The file cannot be read, or an array of the network is missing or has another shape.
        OSError: The file cannot be opened.
    """
    path = arguments.path("path", path, "a file or folder of weights")
    return checkpoints.accept(checkpoints.read_checkpoint(path, None if variant is None else get_variant(variant)))


def convert_weights(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    variant: Variant | str | os.PathLike[str] | None = None,
    names: str = "timm",
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    preprocessing: str | Scaling | None = None,
    class_names: Sequence[str] | None = None,
) -> Reading:
    """Write the weights of a file in another format, which follows from the suffix of the target.

    Args:
        source: File or folder, as for ``checkpoints.open_checkpoint``.
        target: File to write: ``.keras`` or ``.h5``, a whole model; ``.weights.h5``; ``.safetensors``, or ``.pth``
            (``.pt``), a state dict, which needs PyTorch. An existing file is replaced as a whole.
        variant: Variant of the weights; detected from the file by default.
        names: Naming scheme of the arrays in a file for PyTorch: ``"timm"``, ``"lukemelas"`` or ``"torchvision"``.
        padding, batch_norm_epsilon, preprocessing: Settings that the network was trained with, if the source does not
            record them. Every format records what is known of them.
        class_names: Class names in the order of the outputs; those in the source by default.

    Returns:
        What was read.

    Raises:
        ValueError: The format cannot be written, or the naming scheme lacks the variant; CheckpointError: the
            source cannot be read, or is not one variant's.
        OSError: A file cannot be opened or written.
        ImportError: The package that writes the format is not installed.
    """
    source = arguments.path("source", source, "a file or folder of weights")
    target = Path(arguments.path("target", target, "the path of the file to write"))
    arguments.choice("names", names, PYTORCH_ORIGINS)
    given = finding.given_facts(padding, batch_norm_epsilon, preprocessing)
    if class_names is not None:
        named = arguments.items("class_names", class_names, str, "names of the classes, in the order of the outputs")
        given = dataclasses.replace(given, class_names=tuple(named))
    suffix = _suffix(target)
    reading = read_weights(source, variant)
    if class_names is not None and len(class_names) != (reading.classes or 0):
        raise ValueError(f"class_names: {len(class_names)} names, and {source} has {reading.classes or 'no'} classes.")
    facts = dataclasses.replace(given | finding.of_reading(reading), model=None)
    if suffix in _KERAS_SUFFIXES:
        _write_keras(target, suffix, open_model(reading, given), facts)
        return reading
    checkpoints.report(reading)
    for name, array in reading.arrays.items():
        check_array(name, array, reading.path)
    if facts.padding == "edgetpu":
        logger.warning(
            "%s has the weights of a network with padding='edgetpu'. timm's EdgeTPU networks pad otherwise, and so "
            "predict otherwise with them; geffnet's tf_efficientnet_es, em and el predict the same.",
            target,
        )
    arrays = dict(_for_pytorch(reading, names))
    with replacing(target) as part:
        if suffix == ".safetensors":
            safetensors.write(part, arrays, {"format": "pt", KEY: facts.to_json()})
        else:
            _save_state_dict(part, arrays)
            write_archive(part, facts)
    return reading


def _write_keras(target: Path, suffix: str, model: Any, facts: Facts) -> None:
    # The library HDF5 ends the process where it meets with a full disk. It writes less than a MiB beside the weights.
    with replacing(target, model.count_params() * 4 + (1 << 20)) as part:
        if suffix == ".weights.h5":
            model.save_weights(part)
            write_hdf5(part, facts)
            return
        model.save(part)
        facts = dataclasses.replace(facts, preprocessing=model_preprocessing(model))
        if suffix == ".h5":
            write_hdf5(part, facts)
        else:
            metadata.write_facts(part, facts)


def open_model(reading: Reading, given: Facts = UNKNOWN) -> Any:
    """Build the Keras model of a file of weights, with the file's classes, channels and last activation.

    Args:
        reading: File, as ``read_weights`` returns it.
        given: Padding, epsilon and preprocessing, if they are known otherwise.
    """
    from .. import keras

    arguments.instance("reading", reading, Reading, "what read_weights returns")
    activation = reading.checkpoint.facts.activation or "softmax"
    has_classifier = reading.classes is not None
    size = default_side(reading.variant, has_classifier)
    return keras.create(
        reading.variant,
        include_top=has_classifier,
        weights=reading.path,
        input_shape=(size, size, reading.channels),
        classes=reading.classes or reading.variant.classes,
        classifier_activation=None if activation == "linear" else activation,
        padding=given.padding,
        batch_norm_epsilon=given.epsilon,
        preprocessing=given.preprocessing,
    )


def largest_difference(model: Any, other: Any, seed: int = 0) -> float:
    """Return the largest difference of two models' outputs for the same random image."""
    functional(model)
    functional(other)
    arguments.whole("seed", seed, 0)
    # Where a model takes any size, that of ImageNet.
    shape = (224 if side is None else side for side in model.input_shape[1:])
    x = np.random.default_rng(seed).standard_normal((1, *shape), np.float32)
    outputs = [np.asarray(network.predict_on_batch(x), np.float64) for network in (model, other)]
    return float(np.abs(outputs[0] - outputs[1]).max())


def _suffix(target: Path) -> str:
    name = target.name.lower()
    for suffix in (*_KERAS_SUFFIXES, *_PYTORCH_SUFFIXES):  # the longer one first
        if name.endswith(suffix):
            return suffix
    raise ValueError(
        f"{target}: cannot detect the format to write; give a name that ends in "
        f"{', '.join((*_KERAS_SUFFIXES, *_PYTORCH_SUFFIXES))}."
    )


def _for_pytorch(reading: Reading, names: str) -> Iterator[tuple[str, Stored]]:
    """The arrays under an origin's names and in its layout, with the counters that PyTorch's batch norms have."""
    table = PYTORCH_ORIGINS[names].entries(layout.layers(reading.variant, reading.classes, reading.channels))
    counter = Stored((), np.dtype(np.int64), lambda: np.zeros((), np.int64))
    for entry in table:
        if entry.ours in reading.arrays:
            yield entry.theirs, entry.to_theirs(reading.arrays[entry.ours])
            if entry.ours.endswith("/moving_variance"):
                yield entry.theirs.replace(".running_var", ".num_batches_tracked"), counter


def _save_state_dict(path: Path, arrays: dict[str, Stored]) -> None:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "Writing .pth needs PyTorch: pip install 'efficientnet[torch]>=2'. A .safetensors file needs nothing, and "
            "PyTorch reads it as well."
        ) from error
    tensors = {name: torch.from_numpy(np.array(stored)) for name, stored in arrays.items()}
    with path.open("wb") as file:  # Python's own, which says why it cannot be written
        torch.save(tensors, file)
