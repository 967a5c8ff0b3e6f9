"""Conversion of any readable file of weights to other formats, without changing a bit of the weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoints
from ..checkpoints import Facts, Reading
from ..checkpoints.channels import with_channels
from ..checkpoints.facts import UNKNOWN, of_variant, write_hdf5
from ..checkpoints.names.torch import TIMM
from ..common import arguments
from ..common.files import replacing
from ..common.text import get_logger
from ..family.variants import Variant, get_variant
from ..images.pixel_scaling import Scaling, for_channels
from ..keras_files import metadata
from ..keras_graph.marks import model_preprocessing
from ..keras_graph.walk import functional
from ..weights import finding
from ..weights.loading import locate
from . import folders, state_dicts
from .packages import PACKAGES

logger = get_logger()

_KERAS = "keras"
_KERAS_SUFFIXES = (".keras", ".weights.h5", ".h5")
_MODEL = "model.keras"  # in a folder


def read_weights(path: str | os.PathLike[str], variant: Variant | str | os.PathLike[str] | None = None) -> Reading:
    """Read a file that holds all weights of one variant, whatever else it holds.

    Args:
        path: File or folder, as for ``checkpoints.open_checkpoint``; or an address: ``hf://owner/repository``,
            ``kaggle://…``, ``https://…#sha256=…``.
        variant: Variant of the weights; detected from the file by default.

    Raises:
        CheckpointError: The file cannot be read, or an array of the network is missing or has another shape.
        OSError: The file cannot be opened.
    """
    path = locate(os.fspath(arguments.path("path", path, "a file or folder of weights")))
    return checkpoints.accept(checkpoints.read_checkpoint(path, None if variant is None else get_variant(variant)))


def convert_weights(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    variant: Variant | str | os.PathLike[str] | None = None,
    to: str | None = None,
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    preprocessing: str | Scaling | None = None,
    class_names: Sequence[str] | None = None,
    in_channels: int | None = None,
) -> Reading:
    """Write the weights of a file in another format, or as a folder that another package opens.

    Args:
        source: File, folder or address, as for ``read_weights``.
        target: File to write, whose suffix is its format: ``.keras`` or ``.h5``, a whole model; ``.weights.h5``;
            ``.safetensors``, or ``.pth`` (``.pt``), a state dict, which needs PyTorch. An existing file is replaced as
            a whole. Or, with ``to``, a folder that is not there yet.
        variant: Variant of the weights; detected from the file by default.
        to: Package to write for: ``"keras"``, ``"transformers"``, ``"kerashub"``, ``"timm"``, ``"torchvision"`` or
            ``"lukemelas"``. A folder holds what its own functions open, with the configuration, the class names and a
            model card. A state dict has its names; timm's by default.
        padding, batch_norm_epsilon, preprocessing: Settings that the network was trained with, if the source does not
            record them. Every format records what is known of them.
        class_names: Class names in the order of the outputs; those in the source by default.
        in_channels: Channels of the images that the new weights are for, as in ``create``; those of the source by
            default. This changes the first kernel, and nothing else.

    Returns:
        What was read.

    Raises:
        ValueError: The format cannot be written, or the package lacks the network; CheckpointError: the source cannot
            be read, or is not one variant's.
        OSError: A file cannot be opened or written, or the folder is there.
        ImportError: The package that writes the format is not installed.

    Example:
        >>> convert_weights("model.pth", "for-transformers", to="transformers").variant.name
        'efficientnet-b0'
    """
    source = arguments.path("source", source, "a file or folder of weights")
    target = Path(arguments.path("target", target, "the path of the file or folder to write"))
    if to is not None:
        arguments.choice("to", to, (*PACKAGES, _KERAS))
    given = finding.given_facts(padding, batch_norm_epsilon, preprocessing)
    if class_names is not None:
        named = arguments.items("class_names", class_names, str, "names of the classes, in the order of the outputs")
        given = dataclasses.replace(given, class_names=tuple(named))
    suffix = _suffix(target, to)
    reading = read_weights(source, variant)
    if in_channels is not None:
        reading = with_channels(reading, arguments.whole("in_channels", in_channels))
    if class_names is not None and len(class_names) != (reading.classes or 0):
        raise ValueError(f"class_names: {len(class_names)} names, and {source} has {reading.classes or 'no'} classes.")
    facts = dataclasses.replace(given | finding.of_reading(reading), model=None) | of_variant(reading.variant)
    if facts.targets == "ordinal":
        raise ValueError(
            f"{source} computes the probabilities of ordered classes by layers behind the network, which no file of a "
            "variant's weights has: use the model itself, or `efficientnet export`."
        )
    if facts.preprocessing is not None:
        facts = dataclasses.replace(facts, preprocessing=for_channels(facts.preprocessing, reading.channels))
    if suffix in _KERAS_SUFFIXES:
        _write_keras(target, suffix, open_model(reading, given), facts)
        return reading
    if to == _KERAS:
        _write_keras_folder(target, reading, given, facts)
        return reading
    checkpoints.report(reading)
    if to is not None:
        folders.write_package(target, PACKAGES[to], reading, given, facts.class_names)
        return reading
    if facts.padding == "edgetpu":
        logger.warning(
            "%s has the weights of a network with padding='edgetpu'. timm's EdgeTPU networks pad otherwise, and so "
            "predict otherwise with them; geffnet's tf_efficientnet_es, em and el predict the same.",
            target,
        )
    state_dicts.write(target, state_dicts.named_arrays(reading, TIMM), facts)
    return reading


def _write_keras_folder(target: Path, reading: Reading, given: Facts, facts: Facts) -> None:
    model, row = open_model(reading, given), folders.published_row(reading)
    usage = f'import keras\n\nmodel = keras.models.load_model("{{folder}}/{_MODEL}")'
    with folders.new_folder(target, model.count_params() * 4) as folder:
        _write_keras(folder / _MODEL, ".keras", model, facts)
        network = folders.describe(reading, given, facts.class_names, row)
        folders.write_card(folder, target.name, network, "Keras", "keras", usage, row)


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
    """Build the Keras model of a file of weights, with its classes, size, channels and last activation.

    Args:
        reading: File, as ``read_weights`` returns it.
        given: Padding, epsilon and preprocessing, if they are known otherwise.
    """
    from .. import keras

    arguments.instance("reading", reading, Reading, "what read_weights returns")
    activation = reading.checkpoint.facts.activation or "softmax"
    has_classifier = reading.classes is not None
    size = reading.checkpoint.facts.size or reading.variant.resolution
    return keras.create(
        dataclasses.replace(reading.variant, resolution=size),
        include_top=has_classifier,
        weights=reading.path,
        in_channels=reading.channels,
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


def _suffix(target: Path, to: str | None) -> str:
    """Return the suffix that is a format; empty for a folder."""
    name = target.name.lower()
    known = (*_KERAS_SUFFIXES, *state_dicts.SUFFIXES)  # the longer one first
    suffix = next((suffix for suffix in known if name.endswith(suffix)), "")
    if not suffix and to is None:
        raise ValueError(
            f"{target}: cannot detect the format to write; give a name that ends in {', '.join(known)}, or a folder "
            "and the package that it is for (to=, in a command --to). `efficientnet export` writes ONNX, OpenVINO and "
            "LiteRT."
        )
    fitting = {"": known, _KERAS: _KERAS_SUFFIXES, "kerashub": ()}.get(to or "", state_dicts.SUFFIXES)
    if suffix and suffix not in fitting:
        named = f"a name that ends in {', '.join(fitting)}, or " if fitting else ""
        raise ValueError(f"{target} is not a file for {to}: give {named}the name of a folder, without such a suffix.")
    return suffix
