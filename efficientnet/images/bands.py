"""Images of any number of channels: arrays in NPY files, and TIFF files of more channels or bits than Pillow reads."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..common.packages import missing
from .pixels import (
    ORIENTATION,
    WHITE_LEVELS,
    as_array,
    fault,
    rgb_of_array,
    rgb_of_image,
    scaled,
    to_8_bits,
    turned_upright,
)

if TYPE_CHECKING:
    from PIL import Image

_NPY = b"\x93NUMPY"
_OPACITY = 2  # in a TIFF file, the kind of a channel; that of colors which it has been applied to is another
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_npy(start: bytes) -> bool:
    """Return whether a file that begins like this is an array of NumPy's."""
    return start.startswith(_NPY)


def is_tiff(start: bytes) -> bool:
    """Return whether a file that begins like this is a TIFF file."""
    return start.startswith(_TIFF)


def with_channels(array: Any, channels: int, are_pixels: bool = True, decides: bool = True) -> NDArray[Any]:
    """Return an image with this number of channels: levels 0..255, floating ones in their own type, others as uint8.

    Args:
        array: As for ``rgb_of_array`` for 1 and 3 channels: grey becomes RGB, and colors their luminance. For other
            numbers (height, width, channels), of which none is opacity.
        channels: Number of channels of the result.
        are_pixels, decides: As in ``pixels.fault``.

    Raises:
        ValueError: It is not an image of this number of channels; the message says what to pass.
    """
    if channels in (1, 3):
        rgb = rgb_of_array(array, are_pixels, decides)
        return rgb if channels == 3 else _grey(rgb)
    array = as_array(array)
    if array.ndim != 3 or array.shape[-1] != channels or not array.size:
        raise ValueError(
            f"An image for this model is an array (height, width, {channels}) of at least one pixel; got {array.shape}."
        )
    if problem := fault(array, are_pixels, decides):
        raise ValueError(problem)
    levels: NDArray[Any] = scaled(array)
    return levels if levels.dtype.kind == "f" else levels.astype(np.uint8, copy=False)


def of_image(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Return a Pillow image with this number of channels; for others than 1 and 3 it has to have as many.

    Raises:
        ValueError: It has another number.
    """
    if channels in (1, 3):
        rgb = rgb_of_image(image)
        return rgb if channels == 3 else _grey(rgb)
    if len(image.getbands()) != channels:
        raise ValueError(f"it has {len(image.getbands())} channels ({image.mode}), and {channels} are expected")
    image.load()
    return turned_upright(with_channels(np.asarray(image), channels), image.getexif().get(ORIENTATION, 1))


def planes(pixels: NDArray[np.uint8]) -> list[Image.Image]:
    """Return an image as what Pillow works on: one of RGB, or one of grey for each channel."""
    from PIL import Image

    channels = [pixels] if pixels.shape[-1] == 3 else np.moveaxis(pixels, -1, 0)
    return [Image.fromarray(np.ascontiguousarray(channel)) for channel in channels]


def joined(images: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Return the pixels of what :func:`planes` returned."""
    arrays = [np.asarray(image) for image in images]
    return arrays[0] if arrays[0].ndim == 3 else np.stack(arrays, axis=-1)


def of_file(content: bytes, channels: int, most_pixels: int | None) -> NDArray[np.uint8]:
    """Return the image in the content of an NPY or a TIFF file; channels may be its first axis or its last.

    Raises:
        ValueError: It holds no image of this number of channels, or one of too many pixels.
        ImportError: The package tifffile, which reads such a TIFF file, is missing.
    """
    if is_npy(content):
        array, orientation, is_inverted = np.load(io.BytesIO(content), allow_pickle=False), 1, False
    else:
        array, orientation, is_inverted = _read_tiff(content, channels, most_pixels)
    # Grey and RGB files may have opacity, too.
    accepted = (1, 2, 3, 4) if channels in (1, 3) else (channels,)
    if array.ndim == 3 and array.shape[-1] not in accepted and array.shape[0] in accepted:
        array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in accepted):
        raise ValueError(f"it holds an array of shape {array.shape}, and an image of {channels} channels is expected")
    _check_size(array.shape[0], array.shape[1], most_pixels)
    levels = _eight_bits(array)
    return turned_upright(with_channels(255 - levels if is_inverted else levels, channels), orientation)


def _read_tiff(content: bytes, channels: int, most_pixels: int | None) -> tuple[NDArray[Any], int, bool]:
    """Return a file's numbers, their orientation (EXIF), and whether 0 is white."""
    if find_spec("tifffile") is None:
        raise missing("TIFF files of more channels or bits than Pillow reads need tifffile", "tiff")
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        _check_size(page.imagelength, page.imagewidth, most_pixels)
        if channels in (1, 3) and page.samplesperpixel in (2, 4) and page.extrasamples != (_OPACITY,):
            raise ValueError("its last channel is not an opacity of its own")
        return file.series[0].asarray(), page.tags.valueof(ORIENTATION, 1), page.photometric == 0


def _check_size(height: int, width: int, most_pixels: int | None) -> None:
    if most_pixels is not None and height * width > most_pixels:
        from PIL import Image

        raise Image.DecompressionBombError(f"{width} x {height} pixels exceed the limit of {most_pixels}.")


def _eight_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return levels 0..255. In uint16 white is 65535, in floating numbers the least of 1, 255, 65535 that holds all."""
    if levels.dtype.kind == "f" and levels.size:
        highest = float(levels.max())  # NaN where any is
        if not np.isfinite(levels).all():
            raise ValueError("it has NaN or infinite levels")
        return to_8_bits(levels, next((level for level in WHITE_LEVELS["F"] if highest <= level), highest))
    if problem := fault(levels) if levels.size else None:
        raise ValueError(problem)
    return scaled(levels).astype(np.uint8)


def _grey(rgb: NDArray[Any]) -> NDArray[Any]:
    """Return the luminance (ITU-R BT.601), (height, width, 1); that of equal channels is their level."""
    if rgb.dtype == np.uint8:
        from PIL import Image

        return np.asarray(Image.fromarray(rgb).convert("L"))[..., np.newaxis]
    grey: NDArray[Any] = (rgb @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis].astype(rgb.dtype)
    return grey


def as_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return an image of any number of channels as one to look at, (height, width, 3).

    Of more than three channels the first three are shown as RGB, of fewer the first in grey.
    """
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1].repeat(3, axis=-1)
