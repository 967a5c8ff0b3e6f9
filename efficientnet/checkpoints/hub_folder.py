"""Folders as on hubs: weights under a fixed name, and beside them ``config.json``, which describes them.

This module reads what timm's ``push_to_hf_hub``, transformers' ``save_pretrained`` and KerasHub's ``save_to_preset``
write.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..common.json_files import read_object
from ..errors import CheckpointError
from . import architecture, timm_config, transformers_config
from .base import StoredWeights
from .facts import Facts, count_of_classes, of_scale_and_offset, square

_CONFIG, _IMAGE_CONVERTER, _TASK = "config.json", "image_converter.json", "task.json"
_BACKBONE, _SHARDS, _CLASSIFIER = "model.weights.h5", "model.weights.json", "task.weights.h5"
# In the order of preference.
WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", _BACKBONE, _SHARDS, "model.keras",
    "model.pth",
)  # fmt: skip


def find_weights(folder: Path) -> list[Path]:
    """Return the files of weights in a folder: the network's, and the classifier's if it has a separate one."""
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()][:1]
    is_backbone = files and files[0].name in (_BACKBONE, _SHARDS) and (folder / _CLASSIFIER).is_file()
    return [*files, folder / _CLASSIFIER] if is_backbone else files


def join(backbone: StoredWeights, classifier: StoredWeights) -> StoredWeights:
    """Join KerasHub's two files as one, with the numbers that one file would have."""
    return backbone._replace(arrays={**classifier.arrays, **backbone.arrays})


def read_config(weights: Path) -> Facts:
    """Read the facts in the configuration beside a file of weights; none if it is missing or of another kind.

    Raises:
        CheckpointError: A value in it is impossible.
        OSError: The file cannot be read.
    """
    if weights.name not in WEIGHTS or not (config_file := weights.with_name(_CONFIG)).is_file():
        return Facts()
    try:
        config = read_object(config_file)
        if isinstance(config.get("architecture"), str):
            return timm_config.of_config(config, config_file)
        if config.get("model_type") == "efficientnet":
            return transformers_config.of_config(config, config_file)
        if config.get("class_name") == "EfficientNetBackbone":
            return _kerashub(config_file, config)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{config_file} does not say what {weights.name} beside it holds ({error}): save or download both again, "
            "or move the weights to a folder without it."
        ) from None
    return Facts()


def _kerashub(config_file: Path, config: dict[str, Any]) -> Facts:
    facts = architecture.kerashub(config["config"])
    converter = config_file.with_name(_IMAGE_CONVERTER)
    if converter.is_file():
        facts = facts | _of_converter(read_object(converter)["config"])
    task = config_file.with_name(_TASK)
    if task.is_file():
        options = read_object(task)["config"]
        if isinstance(activation := options.get("activation"), str):
            facts = dataclasses.replace(facts, activation=activation)
        facts = dataclasses.replace(facts, pooling=architecture.kerashub_pooling(options))
        if (classes := options.get("num_classes")) is not None:
            facts = dataclasses.replace(facts, class_counts=((f"{task}: num_classes", count_of_classes(classes)),))
    return facts


def _of_converter(options: dict[str, Any]) -> Facts:
    """Return the facts of an ImageConverter: earlier ones had mean and variance in place of scale and offset."""
    scale, offset = options.get("scale"), options.get("offset")
    if scale is not None and options.get("variance") is not None and options.get("mean") is not None:
        with np.errstate(all="ignore"):  # what is not finite is refused below
            std = np.sqrt(np.asarray(options["variance"], np.float64))
            scale, offset = scale / std, -np.asarray(options["mean"], np.float64) / std
    interpolation = options.get("interpolation", "bilinear")
    sides = options.get("image_size")
    return Facts(
        preprocessing=None if scale is None else of_scale_and_offset(scale, 0.0 if offset is None else offset),
        crop=1.0 if options.get("crop_to_aspect_ratio", True) else None,  # as large a square as there is
        interpolation=interpolation if interpolation in ("bilinear", "bicubic") else None,
        size=square(*sides) if isinstance(sides, list) and len(sides) == 2 else None,
    )
