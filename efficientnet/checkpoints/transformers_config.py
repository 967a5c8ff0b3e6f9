"""transformers' facts of a network: ``config.json`` and ``preprocessor_config.json`` of a folder for the hub."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.json_files import is_number, read_object
from ..family.scaling import block_name
from ..images.pixel_scaling import Scaling
from .facts import (
    Facts,
    common_name,
    count_of_classes,
    of_scale_and_offset,
    positive_fraction,
    short_text,
    square,
    strides,
)  # fmt: skip
from .timm_config import class_names_of

_PREPROCESSOR = "preprocessor_config.json"
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # default of EfficientNetConfig
_MOST_BLOCKS = 10_000  # EfficientNet-L2 has 88
_HALF = (0.5, 0.5, 0.5)  # default of EfficientNetImageProcessor


def of_config(config: Mapping[str, Any], path: Path) -> Facts:
    """Return the facts in ``config.json``, and those in the image processor's file beside it.

    Args:
        config: Content of the file.
        path: Path of the file.

    Raises:
        ValueError: A value is out of its range, or the network is none of this package's.
        OSError: The image processor's file cannot be read.
    """
    size = config.get("image_size")
    padded = set(config.get("depthwise_padding") or ())
    if size is not None and (padded != blocks_padded_equally(config, size) or size % 2):  # the stem, at an odd size
        raise ValueError(
            f"its depthwise_padding {str(config.get('depthwise_padding'))[:80]} pads otherwise than TensorFlow does at "
            f"image_size {size}"
        )
    labels = config.get("id2label")
    names = class_names_of(labels)
    if names == tuple(f"LABEL_{number}" for number in range(len(names or ()))):
        names = None  # they were not named
    counts = ((f"{path}: id2label", count_of_classes(len(labels))),) if isinstance(labels, Mapping) else None
    epsilon = config.get("batch_norm_eps")
    processor = path.with_name(_PREPROCESSOR)
    said = _of_processor(read_object(processor)) if processor.is_file() else Facts()
    return said | Facts(
        padding="same",
        epsilon=None if epsilon is None else positive_fraction(epsilon),
        size=square(size, size),
        class_names=names,
        class_counts=counts,
        hidden_activation=common_name(short_text(config.get("hidden_act", "swish"))),
        strides=strides(config.get("strides", _STRIDES)),
        residuals=_residuals(config),
        pooling={"mean": "avg"}.get(pooling := short_text(config.get("pooling_type", "mean")), pooling),
    )


def blocks_padded_equally(config: Mapping[str, Any], size: Any) -> set[int]:
    """Return the numbers of the blocks with a stride that TensorFlow pads equally on all sides, at a size of the input.

    Args:
        config: Content of ``config.json``.
        size: Side of the input, pixels.

    Raises:
        ValueError: The size is not a number of pixels.
    """
    if type(size) is not int or size < 1:
        raise ValueError(f"its image_size is {str(size)[:80]!r}, where a number of pixels is due")
    side, number = -(-size // 2), 0
    found = set()
    for stride, count in zip(config.get("strides", _STRIDES), _repeats(config), strict=True):
        if stride == 2:
            found |= {number} if side % 2 else set()
            side = -(-side // 2)
        number += count
    return found


def _residuals(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the blocks that add their input to their output: all but the first of each stage, of any filters."""
    counts = enumerate(_repeats(config))
    return tuple(sorted(block_name(stage, repeat) for stage, count in counts for repeat in range(1, count)))


def _repeats(config: Mapping[str, Any]) -> list[int]:
    """Return the number of blocks of each stage."""
    repeats = config.get("num_block_repeats", (1, 2, 2, 3, 3, 4, 1))
    depth = config.get("depth_coefficient", 3.1)
    if not isinstance(repeats, list | tuple) or not all(map(is_number, (depth, *repeats))):
        raise ValueError("its num_block_repeats and depth_coefficient are not numbers of blocks")
    counts = [math.ceil(depth * count) for count in repeats]
    if sum(map(abs, counts)) > _MOST_BLOCKS:
        raise ValueError(f"its num_block_repeats and depth_coefficient are of more than {_MOST_BLOCKS:,} blocks")
    return counts


def _of_processor(options: Mapping[str, Any]) -> Facts:
    """Return the facts of an EfficientNetImageProcessor, which may divide by the standard deviation twice."""
    size, crop_size = (_side(options.get(key)) for key in ("size", "crop_size"))
    crop = crop_size / size if options.get("do_center_crop") and size and crop_size else 1.0
    return Facts(
        preprocessing=_scaling(options),
        crop=positive_fraction(min(crop, 1.0)),
        interpolation=INTERPOLATIONS.get(options.get("resample", 3)),
    )


def _scaling(options: Mapping[str, Any]) -> str | Scaling:
    scale = [options.get("rescale_factor", 1 / 255) if options.get("do_rescale", True) else 1.0] * 3
    offset = [-1.0 if options.get("rescale_offset", False) else 0.0] * 3
    mean, std = (list(options.get(key) or _HALF) for key in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or not all(map(is_number, (*scale, *mean, *std))) or min(std) <= 0:
        raise ValueError(f"its {_PREPROCESSOR} has numbers that scale no pixels")
    if options.get("do_normalize", True):
        scale = [s / d for s, d in zip(scale, std, strict=True)]
        offset = [(o - m) / d for o, m, d in zip(offset, mean, std, strict=True)]
    if options.get("include_top", True):
        scale, offset = ([value / d for value, d in zip(values, std, strict=True)] for values in (scale, offset))
    return of_scale_and_offset(scale, offset)


def _side(value: Any) -> int | None:
    value = value.get("height") if isinstance(value, Mapping) else value
    return value if type(value) is int and value > 0 else None
