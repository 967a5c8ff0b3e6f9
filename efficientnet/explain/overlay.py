"""Heat maps laid over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..images.bands import as_rgb, with_channels
from ..images.pixels import as_array
from ..model_io.images import read_pixels
from .explaining import Explanation

if TYPE_CHECKING:
    from PIL import Image

# From little evidence to much: a scale that grows evenly brighter, from violet through red to yellow.
_COLORS = np.array([[85, 16, 110], [139, 34, 105], [187, 55, 84], [227, 89, 51], [249, 140, 10], [246, 215, 70]]) / 255
_MAP = "a map of numbers 0..1, (height, width)"
_OPACITY = 0.8  # where the evidence is greatest
_UNSEEN = 0.45  # opacity of the grey over what the network does not get


def overlay(image: Any, explanation: Explanation | NDArray[np.floating[Any]]) -> Image.Image:
    """Draw a heat map over its image.

    The image becomes grey, so that all color is evidence: from violet for little to yellow for the most. What the
    network does not get of the image, since the crop cuts it off, is faded.

    Args:
        image: The image that was explained, from any source that :func:`explain` takes.
        explanation: An :class:`Explanation`, or a map alone, (height, width) of 0..1, in the size of the image.

    Returns:
        A Pillow image in the size of ``image``, RGB.

    Raises:
        ValueError: The map is of another size, or has other numbers than 0..1; or the image is none.
        OSError: The image cannot be read.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 64, weights=None, classes=5)
        >>> (found,) = explain(model, "misc/panda.jpg")
        >>> overlay("misc/panda.jpg", found).size
        (800, 600)
    """
    from PIL import Image

    given = explanation.heat_map if isinstance(explanation, Explanation) else explanation
    heat_map = arguments.array("explanation", given, _MAP)
    levels = as_array(read_pixels(image, 3))
    channels = levels.shape[2] if levels.ndim > 2 else 1
    pixels = as_rgb(with_channels(levels, 3 if channels <= 4 else channels))
    if heat_map.shape != pixels.shape[:2]:
        raise ValueError(
            f"explanation has a map of the shape {heat_map.shape}, the image is {pixels.shape[:2]}: expected the map "
            "of this image."
        )
    if not (heat_map.min() >= 0 and heat_map.max() <= 1):  # false for NaN, too
        raise ValueError(f"explanation has {heat_map.min():.3g} to {heat_map.max():.3g}: expected {_MAP}.")
    grey = np.repeat(pixels.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    drawn = over_grey(grey, heat_map)
    if isinstance(explanation, Explanation):
        left, top, right, bottom = explanation.seen
        hidden = np.ones(heat_map.shape, bool)
        hidden[top:bottom, left:right] = False
        drawn[hidden] = (1 - _UNSEEN) * drawn[hidden] + _UNSEEN * 0.5
    return Image.fromarray(np.rint(255 * drawn).astype(np.uint8))


def over_grey(grey: NDArray[Any], heat_map: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Lay a heat map, (height, width), over a grey image, (height, width, 3); both and the result are 0..1."""
    strength = np.clip(heat_map, 0, 1)
    places = np.linspace(0, 1, len(_COLORS))
    heat = np.stack([np.interp(strength, places, levels) for levels in _COLORS.T], axis=-1)
    opacity = _OPACITY * strength[..., np.newaxis]
    blended: NDArray[np.float64] = (1 - opacity) * (0.2 + 0.7 * grey) + opacity * heat
    return blended
