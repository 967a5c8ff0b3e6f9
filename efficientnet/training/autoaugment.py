"""AutoAugment (arXiv 1805.09501), by the policy in the code that trained the paper's B0 to B7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .randaugment import apply

_LEVELS = 10.0

# "v0" of the authors' code: pairs of an operation, its probability and its level, 0..10.
POLICY = (
    (("equalize", 0.8, 1), ("shear_y", 0.8, 4)),
    (("color", 0.4, 9), ("equalize", 0.6, 3)),
    (("color", 0.4, 1), ("rotate", 0.6, 8)),
    (("solarize", 0.8, 3), ("equalize", 0.4, 7)),
    (("solarize", 0.4, 2), ("solarize", 0.6, 2)),
    (("color", 0.2, 0), ("equalize", 0.8, 8)),
    (("equalize", 0.4, 8), ("solarize_add", 0.8, 3)),
    (("shear_x", 0.2, 9), ("rotate", 0.6, 8)),
    (("color", 0.6, 1), ("equalize", 1.0, 2)),
    (("invert", 0.4, 9), ("rotate", 0.6, 0)),
    (("equalize", 1.0, 9), ("shear_y", 0.6, 3)),
    (("color", 0.4, 7), ("equalize", 0.6, 0)),
    (("posterize", 0.4, 6), ("auto_contrast", 0.4, 7)),
    (("solarize", 0.6, 8), ("color", 0.6, 9)),
    (("solarize", 0.2, 4), ("rotate", 0.8, 9)),
    (("rotate", 1.0, 7), ("translate_y", 0.8, 9)),
    (("shear_x", 0.0, 0), ("solarize", 0.8, 4)),
    (("shear_y", 0.8, 0), ("color", 0.6, 4)),
    (("color", 1.0, 0), ("rotate", 0.6, 2)),
    (("equalize", 0.8, 4), ("equalize", 0.0, 8)),
    (("equalize", 1.0, 4), ("auto_contrast", 0.6, 2)),
    (("shear_y", 0.4, 7), ("solarize_add", 0.6, 7)),
    (("posterize", 0.8, 2), ("solarize", 0.6, 10)),
    (("solarize", 0.6, 8), ("equalize", 0.6, 1)),
    (("color", 0.8, 6), ("rotate", 0.4, 5)),
)


def auto_augment(images: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Apply one of the policy's 25 pairs of operations to an image, each with its probability.

    Args:
        images: Pillow image, RGB; or its channels as several, grey, which get the same operations.
        rng: Generator that draws the pair, whether each operation is applied, and the directions.

    Returns:
        Images of the same size.
    """
    images = list(images)
    for name, probability, level in POLICY[rng.integers(len(POLICY))]:
        if rng.random() < probability:
            strength, sign = _strength(name, level, rng)
            images = [apply(name, image, strength, sign) for image in images]
    return images


def _strength(name: str, level: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the strength and the sign of an operation, as ``randaugment.apply`` takes them."""
    part = level / _LEVELS
    if name in ("posterize", "solarize"):  # their levels are bits and thresholds that are kept
        return 1 - part, 1.0
    if name == "color":  # from nearly grey, 0.1, to nearly twice the color, 1.9
        return abs(2 * part - 1), 1.0 if part >= 0.5 else -1.0
    return part, float(rng.choice((-1.0, 1.0)))
