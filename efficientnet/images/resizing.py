"""The evaluation crop: the central square of an image, resized."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..common import arguments
from .pixels import as_array, is_pillow, rgb_of_image

# The order of the B-spline behind each interpolation.
MAP_INTERPOLATION_TO_ORDER = {"nearest": 0, "bilinear": 1, "biquadratic": 2, "bicubic": 3}

# From order 2 on, a B-spline passes through the samples only after they are filtered with z^|k|
# (M. Unser, "Splines: a perfect fit for signal and image processing", 1999, box 2).
_SPLINE_POLES = {2: 8**0.5 - 3, 3: 3**0.5 - 2}
_SPLINE_FILTER_RADIUS = {np.dtype(np.float64): 20, np.dtype(np.float32): 10}  # both poles below 1e-11, 1e-6

# Resizing multiplies small matrices. OpenBLAS spreads a product of more multiplications than this
# over all cores, and where those are busy, waiting for them takes up to a hundred times longer.
_MAX_MULTIPLICATIONS = 2**18
_BAND_HEIGHT = 8
# Numbers of an image that are made floating ones at a time.
_MAX_CONVERTED = 2**23

Floats = NDArray[np.floating[Any]]
Band = tuple[slice, slice, NDArray[Any]]  # some new samples, the old ones they need, and the weights


def center_crop_and_resize(
    image: NDArray[Any],
    image_size: int,
    crop_padding: float = 32,
    interpolation: str = "bicubic",
) -> NDArray[Any]:
    """Crop the central square and resize it, as EfficientNet is evaluated on ImageNet.

    The side of the square is ``image_size / (image_size + crop_padding)`` of the short side of the
    image. The result equals ``skimage.transform.resize(crop, (image_size, image_size), order,
    preserve_range=True)``: a Gaussian against aliasing if the square shrinks (standard deviation
    (factor - 1) / 2 pixels), B-spline interpolation, mirrored borders, and clipping to the range of
    the crop. "nearest" does not smooth integers.

    Args:
        image: (height, width) or (height, width, channels), integer or floating levels of any
            range, an array or a tensor; also bool if interpolation is "nearest". Or a Pillow image of
            any mode, which is turned upright and converted to RGB, as by ``load_image``.
        image_size: Side of the result in pixels, at least 1.
        crop_padding: Margin that the crop leaves out, in pixels of the result, at least 0.
        interpolation: "nearest", "bilinear", "biquadratic" or "bicubic".

    Returns:
        (image_size, image_size) or (image_size, image_size, channels), in the levels of ``image``.
        float64; float32 for a float32 or float16 image; "nearest" keeps integer and bool types.

    Raises:
        ValueError: The image has another number of dimensions, no pixels or no numbers; a size is
            too small; the interpolation is unknown.

    Example:
        >>> import numpy as np
        >>> center_crop_and_resize(np.zeros((300, 400, 3), np.uint8), 224).shape
        (224, 224, 3)
    """
    image = rgb_of_image(image) if is_pillow(image) else as_array(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            "An image is an array (height, width) or (height, width, channels) with at least one "
            f"pixel; got shape {image.shape}. Pass the images of a batch one at a time."
        )
    arguments.choice("interpolation", interpolation, MAP_INTERPOLATION_TO_ORDER)
    image_size = arguments.whole("image_size", image_size)
    arguments.number("crop_padding", crop_padding, lambda pixels: 0 <= pixels < np.inf, "a number of at least 0")
    order = MAP_INTERPOLATION_TO_ORDER[interpolation]
    if image.dtype.kind not in ("biuf" if order == 0 else "iuf"):
        raise ValueError(
            f"Cannot take a {interpolation} mean of {image.dtype} values; "
            "convert the image to integer or floating levels first."
        )

    left, top, right, bottom = central_square(image.shape[0], image.shape[1], image_size, crop_padding)
    crop, side = image[top:bottom, left:right], right - left

    if order == 0 and image.dtype.kind != "f":
        nearest = _first_samples(_centers(side, image_size), order)
        return crop[nearest][:, nearest]
    dtype = np.float32 if image.dtype in (np.float16, np.float32) else np.float64
    # 8-bit levels need no more than float32 on the way to be right within 1e-3 of a level.
    bands = _resize_bands(side, image_size, order, np.float32 if image.itemsize == 1 else dtype)
    resized = _transposed(_resize_rows(_transposed(_resize_rows(crop, bands)), bands))
    clipped: NDArray[Any] = np.clip(resized, crop.min(), crop.max())
    return clipped.astype(dtype, copy=False)


def central_square(height: int, width: int, image_size: int, crop_padding: float) -> tuple[int, int, int, int]:
    """Return the square that is cropped from an image: left, top, right, bottom in its pixels."""
    side = max(1, int(image_size / (image_size + crop_padding) * min(height, width)))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return left, top, left + side, top + side


def _resize_rows(image: NDArray[Any], bands: tuple[Band, ...]) -> NDArray[Any]:
    """Resize the first axis of `image`."""
    last_rows, _, weights = bands[-1]
    flat = image.reshape(len(image), -1)  # a view, also of a crop
    resized = np.empty((last_rows.stop, flat.shape[1]), weights.dtype)
    # A large image is not copied whole into floating numbers, which takes four times its memory.
    width = max(1, _MAX_CONVERTED // len(image))
    for start in range(0, flat.shape[1], width):
        part = flat[:, start : start + width].astype(weights.dtype, copy=False)
        target = resized[:, start : start + width]
        for rows, reach, weights in bands:
            step = max(1, _MAX_MULTIPLICATIONS // weights.size)
            for left in range(0, part.shape[1], step):
                columns = slice(left, left + step)
                np.matmul(weights, part[reach, columns], out=target[rows, columns])
    return resized.reshape(-1, *image.shape[1:])


def _transposed(image: NDArray[Any]) -> NDArray[Any]:
    """Swap the first two axes, in memory too; whole pixels are moved, which takes half as long as by channels."""
    pixel = np.dtype((np.void, image[0, 0].nbytes))
    pixels = image.reshape(*image.shape[:2], -1).view(pixel)[..., 0]
    shape = (image.shape[1], image.shape[0], *image.shape[2:])
    return np.ascontiguousarray(pixels.T).view(image.dtype).reshape(shape)


@lru_cache(maxsize=64)
def _resize_bands(size: int, new_size: int, order: int, dtype: DTypeLike) -> tuple[Band, ...]:
    """Return the resizing matrix of one axis without most of its zeros, for ``new = matrix @ old``.

    A new sample depends on a few old ones only, so the matrix (new_size, size) is cut into bands
    of rows, each narrowed to the columns that it uses.
    """
    matrix = _resize_matrix(size, new_size, order, _SPLINE_FILTER_RADIUS[np.dtype(dtype)]).astype(dtype)
    bands = []
    for start in range(0, new_size, _BAND_HEIGHT):
        rows = slice(start, min(start + _BAND_HEIGHT, new_size))
        used = np.flatnonzero(matrix[rows].any(axis=0))
        reach = slice(used[0], used[-1] + 1)
        bands.append((rows, reach, matrix[rows, reach].copy()))
    return tuple(bands)


def _resize_matrix(size: int, new_size: int, order: int, spline_radius: int) -> Floats:
    """Return smoothing, spline filter and interpolation of one axis as a matrix (new_size, size)."""
    kernel: Floats = np.ones(1)
    factor = size / new_size
    if factor > 1:
        sigma = (factor - 1) / 2
        gaussian = np.exp(-0.5 * (np.arange(int(4 * sigma + 0.5) + 1) / sigma) ** 2)
        kernel = _symmetric(gaussian)
    if order in _SPLINE_POLES:
        decay = _SPLINE_POLES[order] ** np.arange(spline_radius + 1)
        kernel = np.convolve(kernel, _symmetric(decay))

    # The B-spline around each new center weighs order + 1 samples, which the kernel spreads.
    center = _centers(size, new_size)
    first = _first_samples(center, order)
    weights = np.zeros((new_size, len(kernel) + order))
    for tap in range(order + 1):
        spline = _b_spline(center - first - tap, order)
        weights[:, tap : tap + len(kernel)] += spline[:, None] * kernel

    # Beyond its ends the axis goes on mirrored, without repeating the end: c b | a b c d | c b.
    column = first[:, None] - len(kernel) // 2 + np.arange(weights.shape[1])
    period = max(1, 2 * (size - 1))
    column = np.abs(column) % period
    column = np.minimum(column, period - column)
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size)[:, None], column), weights)
    return matrix


def _centers(size: int, new_size: int) -> Floats:
    """Return where the centers of the new samples lie, counted in old samples."""
    return (np.arange(new_size) + 0.5) * (size / new_size) - 0.5


def _first_samples(center: Floats, order: int) -> NDArray[np.intp]:
    """Return the first of the order + 1 old samples under the B-spline around each center."""
    first: NDArray[np.intp] = np.floor(center - (order - 1) / 2).astype(np.intp)
    return first


def _symmetric(half: Floats) -> Floats:
    """Return the kernel whose center and right side are `half`, with sum 1."""
    kernel: Floats = np.concatenate([half[:0:-1], half])
    kernel /= kernel.sum()
    return kernel


def _b_spline(distance: Floats, order: int) -> Floats:
    """Return the centered B-spline of this order at points within its support."""
    x: Floats = np.abs(distance)
    if order == 0:
        return np.ones_like(x)
    if order == 1:
        return 1 - x
    if order == 2:
        return np.where(x < 0.5, 0.75 - x**2, (1.5 - x) ** 2 / 2)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, (2 - x) ** 3 / 6)
