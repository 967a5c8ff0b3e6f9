"""Images of any kind and size -> the input of a model, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images.pixel_scaling import Scaling
from ..images.pixels import as_array, fault, is_pillow
from ..keras_graph.marks import model_preprocessing
from .describing import describe_model
from .images import check_many, is_path_or_content, listed, read_image
from .spec import InputSpec


def model_inputs(
    images: Any,
    model: Any,
    *,
    preprocessing: str | Scaling | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
) -> NDArray[np.float32]:
    """Prepare images of any size for a model: crop, resize and scale them for its weights.

    ``model.predict(model_inputs("panda.jpg", model))`` is right whatever the model's weights.

    Args:
        images: One image or an iterable of them: paths, URLs, contents of files as bytes, open files, Pillow
            images, arrays (height, width, 3) of 0..255; or an array (batch, height, width, 3). A model of other
            channels takes arrays and files of these, and grey ones the luminance of colors.
        model: Keras model that takes square images.
        preprocessing: Scaling of pixels, for a model that does not record it: a mode, or a ``Scaling``.
        crop: Part of an image's shorter side that is kept, 0..1; 1 for images that are cropped already. By default
            that of the weights' evaluation, or 0.875.
        interpolation: Interpolation of the resizing: "nearest", "bilinear", "biquadratic" or "bicubic". By default
            that of the weights' evaluation, or "bicubic".

    Returns:
        (batch, size, size, channels) float32, channels first if the model takes them so; batch is 1 for one image.

    Raises:
        ValueError: There is no image, an item is not an image, or the model does not record how its pixels are scaled
            or takes no images.
        OSError: An image cannot be read.

    Example:
        >>> model = EfficientNet(0.25, 0.25, 32, weights=None)
        >>> model_inputs("misc/panda.jpg", model).shape
        (1, 32, 32, 3)
    """
    if preprocessing is None:
        model_preprocessing(model)  # raises if the scaling is unknown
    spec = describe_model(model, preprocessing, crop, interpolation)
    sources, is_batch = as_list(images, spec)
    # A dark image of a batch may have the levels that another alone would have in 0..1.
    batch = [read_image(source, spec, decides=not is_batch) for source in sources]
    scaled: NDArray[np.float32] = spec.scale(np.stack(batch).astype(np.float32, copy=False))
    return scaled


def as_list(images: Any, spec: InputSpec) -> tuple[list[Any], bool]:
    """Return one image or several as a list, and whether they come from one array, a batch, which is judged as a whole.

    Raises:
        ValueError, TypeError: There is no image, or these are not images in an order, or no pixels.
    """
    images = listed(images)
    if is_path_or_content(images) or is_pillow(images) or 0 < len(getattr(images, "shape", ())) < 4:
        return [images], False
    check_many(images)
    sources = list(images)
    if not sources:
        raise ValueError("Expected at least one image; got none.")
    is_batch = hasattr(images, "__array__")
    if is_batch and (problem := fault(as_array(images), spec.takes_pixels)):
        raise ValueError(problem)
    return sources, is_batch
