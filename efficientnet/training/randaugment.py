"""RandAugment (arXiv 1909.13719): random operations, all of one magnitude.

``keras.layers.RandAugment`` draws the same operations for a whole batch, computes all eleven to keep one of them (for
32 images of 96 pixels it takes longer than a training step of Lite0), and has one factor for angles, shifts and
levels. This is the papers': for each image, and with the magnitudes of their code, whose 10 is a rotation
by 30 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FILL = (128, 128, 128)
_FULL = 10.0  # the magnitude that the ranges below belong to

# Operation -> its argument at magnitude 10. The sign of the argument is random.
_SIGNED = {
    "rotate": math.radians(30.0),
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 100 / 224,  # a fraction of the width
    "translate_y": 100 / 224,
    "color": 0.9,
    "contrast": 0.9,
    "brightness": 0.9,
    "sharpness": 0.9,
}
OPERATIONS = (*_SIGNED, "auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add")


def rand_augment(images: Sequence[Any], magnitude: float, rng: np.random.Generator) -> list[Any]:
    """Apply two random operations to an image, one after the other.

    Args:
        images: Pillow image, RGB; or its channels as several, grey, which get the same operations.
        magnitude: Magnitude of the operations, 0..30.
        rng: Generator that draws the operations and their signs.

    Returns:
        Images of the same size.
    """
    images = list(images)
    for name in rng.choice(OPERATIONS, 2):
        sign = rng.choice((-1.0, 1.0))
        images = [apply(str(name), image, magnitude / _FULL, float(sign)) for image in images]
    return images


def apply(name: str, image: Any, strength: float, sign: float) -> Any:
    """Apply one of :data:`OPERATIONS` to a Pillow image, RGB or grey; strength 1 is the paper's magnitude 10."""
    from PIL import Image, ImageEnhance, ImageOps

    enhancers: dict[str, Callable[[Any], Any]] = {
        "color": ImageEnhance.Color, "contrast": ImageEnhance.Contrast, "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }  # fmt: skip
    amount = sign * strength * _SIGNED.get(name, 0.0)
    if name in enhancers:
        return enhancers[name](image).enhance(max(0.0, 1.0 + amount))
    if name in _SIGNED:
        matrix = _matrix(name, amount, *image.size)
        fill = FILL if image.mode == "RGB" else FILL[0]
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)
    if name == "auto_contrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "invert":
        return ImageOps.invert(image)
    if name == "posterize":
        return ImageOps.posterize(image, max(1, 8 - round(4 * strength)))
    if name == "solarize":
        return ImageOps.solarize(image, round(256 * max(0.0, 1 - strength)))
    added = round(110 * strength)
    return image.point(
        [min(255, level + added) if level < 128 else level for level in range(256)] * len(image.getbands())
    )


def _matrix(name: str, amount: float, width: int, height: int) -> tuple[float, ...]:
    """Return Pillow's coefficients from each new pixel (x, y) to the old image: a x + b y + c, d x + e y + f."""
    if name == "translate_x":
        return (1, 0, amount * width, 0, 1, 0)
    if name == "translate_y":
        return (1, 0, 0, 0, 1, amount * height)
    if name == "shear_x":
        return (1, amount, 0, 0, 1, 0)
    if name == "shear_y":
        return (1, 0, 0, amount, 1, 0)
    cosine, sine = math.cos(amount), math.sin(amount)
    x, y = width / 2, height / 2  # Pillow counts from the corner of the first pixel
    return (cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y)
