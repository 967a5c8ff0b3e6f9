"""The size that images are trained at, by their own size.

A network has been trained on photographs, of which the middle is cut out. Images of a few pixels are kept whole
instead, and enlarged only as far as it helps.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import UnreadableImageError
from ..images.loading import load_image
from ..images.pixel_scaling import EVALUATION_CROP

_SMALL = 64  # pixels, the shorter side: as in CIFAR-10, MNIST, Tiny ImageNet and EuroSAT
_ENLARGED = 4  # times its own size, in steps of the network's stride
_STRIDE = 32
_LEAST = 96  # below it, the last features are of less than 3 x 3 places
_SAMPLED = 15  # files


def usual_side(paths: Sequence[Path], channels: int) -> float | None:
    """Return the median of the shorter sides of some of the images, pixels; None if none of these can be read."""
    count = min(_SAMPLED, len(paths))
    with ThreadPoolExecutor() as threads:
        found = threads.map(lambda part: _side(paths[part * len(paths) // count], channels), range(count))
        sides = [side for side in found if side is not None]
    return statistics.median(sides) if sides else None


def _side(path: Path, channels: int) -> int | None:
    try:
        return int(min(load_image(path, channels=channels).shape[:2]))
    except (OSError, UnreadableImageError):  # reported when all images are read
        return None


def fitting_size(side: float | None, largest: int) -> int:
    """Return the side to train images at whose shorter side is usually ``side``: ``largest`` unless they are small.

    Example:
        >>> fitting_size(8, 224), fitting_size(28, 224), fitting_size(500, 224), fitting_size(8, 32)
        (96, 128, 224, 32)
    """
    if side is None or side > _SMALL:
        return largest
    enlarged = _STRIDE * -(-_ENLARGED * side // _STRIDE)
    return min(largest, max(_LEAST, int(enlarged)))


def evaluation_crop(side: float | None) -> float:
    """Return the part of the shorter side that evaluation keeps, 0..1: of small images, all."""
    return 1.0 if side is not None and side <= _SMALL else EVALUATION_CROP
