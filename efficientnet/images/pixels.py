"""Images in memory -> RGB pixels: which numbers can be pixels, and what each mode of Pillow stands for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..common.text import get_logger

if TYPE_CHECKING:
    from PIL import Image

logger = get_logger()

# Image modes of more than 8 bits per pixel, and the levels that can stand for white in each.
WHITE_LEVELS = {"I": (65535,), "F": (1, 255, 65535)}
# Tags of TIFF files; that of the orientation is EXIF's, too.
ORIENTATION = 274
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 259, 262, 277, 284, 339
# Pixels of a strip: an image is converted strip by strip, so that it is in memory once more and not three times.
_STRIP = 1 << 20

# Resizing with a cubic or Lanczos kernel goes beyond 0 and 255 at edges, in both directions by less than this.
_OVERSHOOT = 51
# Levels 0..1 may go beyond 1 in the same way. Fractions below this are nearly black if white is 255.
HIGHEST_FRACTION = 1.2
# Raw pixels that are neither black nor white have levels above this; preprocessed ones never do.
_HIGHEST_PREPROCESSED = 16
# White in the mode "torch", of whose levels those of bright images are all above 0.
_PREPROCESSED_WHITE = 2.65


def is_pillow(value: Any) -> TypeGuard[Image.Image]:
    """Return whether this is an image of Pillow, which is not imported for it."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)  # None also while another thread imports it
    return kind is not None and isinstance(value, kind)


def as_array(levels: Any) -> NDArray[Any]:
    """Return numbers as an array of NumPy's own types and byte order.

    They may be an array, a tensor of any framework and device, or nested lists.

    Raises:
        ValueError: The argument is not one of these, or some of the numbers are masked.
    """
    if hasattr(levels, "detach"):  # PyTorch converts neither a tensor that has a gradient, nor bfloat16
        levels = levels.detach().cpu()
        levels = levels.float() if "bfloat16" in str(levels.dtype) else levels
    try:
        array = np.asarray(levels)
    except Exception as error:
        raise ValueError(
            f"Expected an array of numbers; got {type(levels).__name__}, which is not one: {error}"
        ) from None
    if hasattr(levels, "mask") and np.ma.is_masked(levels):  # np.ma takes 25 ms to import
        raise ValueError("Some pixels are masked. Fill them first, with white for instance: array.filled(255).")
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # files have others, such as FITS and raw TIFF


def fault(levels: NDArray[Any], are_pixels: bool = True, decides: bool = True) -> str | None:
    """Return why numbers cannot be the levels of pixels, and what to pass instead; None where they can.

    White is 255, in uint16 65535. A floating level may be a little below 0 or above 255, as resizing leaves it. An
    image in floating numbers without a level above 1 may be one in 0..1, or a nearly black one in 0..255: it is
    refused. So is one of fractions that are no greater than preprocessed ones, and one in uint16 without a level above
    255.

    Args:
        levels: At least one level, of one image or of a batch (batch, …), which is judged as a whole.
        are_pixels: Whether floating numbers have to be levels, too; otherwise they only have to be finite.
        decides: Whether these numbers alone say what white is. Where more follow, an image may be nearly black.
    """
    if levels.dtype.kind not in "uif":
        advice = " Pass it times 255." if levels.dtype.kind == "b" else ""
        return f"Pixels are numbers 0..255; got an array of {levels.dtype}.{advice}"
    if levels.dtype == np.uint8:
        return None
    low, high = float(levels.min()), float(levels.max())  # NaN where any number is
    if not np.isfinite(low + high):
        rows = np.isfinite(levels.reshape(len(levels), -1)).all(axis=1)
        which = f"image {np.flatnonzero(~rows)[0]} of the batch has" if levels.ndim == 4 else "got"
        return f"Pixels are numbers 0..255; {which} NaN or infinite ones."
    got = f"got levels from {low:.4g} to {high:.4g} in {levels.dtype}"
    if levels.dtype.kind != "f":
        if low < 0:
            return f"Pixels are numbers 0..255; {got}. Pass uint8, where no level is below 0."
        if levels.dtype == np.uint16:
            if decides and 0 < high <= 255:
                return f"White is 65535 in uint16; {got}, which is all but black. If white is 255, pass it as uint8."
        elif high > 255:
            return f"Pixels are numbers 0..255; {got}. If white is 65535, pass it as uint16, which is scaled."
        return None
    if not are_pixels:
        return None
    if low < 0 and high < _HIGHEST_PREPROCESSED:
        return f"Pixels are numbers 0..255; {got}, which look preprocessed already. Pass the pixels themselves."
    if low < -_OVERSHOOT or high > 255 + _OVERSHOOT:
        return f"Pixels are numbers 0..255; {got}. Scale them so that black is 0 and white is 255."
    if decides and 0 < high <= HIGHEST_FRACTION:
        return f"Pixels are numbers 0..255; {got}, which look like 0..1. Pass them times 255, or pass uint8."
    if decides and 0 < high <= _PREPROCESSED_WHITE and (levels != np.rint(levels)).any():
        return f"Pixels are numbers 0..255; {got}, which look preprocessed already. Pass the pixels themselves."
    return None


def scaled(levels: NDArray[Any]) -> NDArray[Any]:
    """Return levels whose white is 255: uint16 as uint8, all others unchanged."""
    if levels.dtype != np.uint16:
        return levels
    return ((levels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def checked_levels(levels: NDArray[Any], caller: str) -> NDArray[Any]:
    """Return levels 0..255, of any shape, for a function that scales them.

    Whole numbers that cannot be levels are refused, and uint16 is scaled. Floating ones are left alone, since one image
    of many may be nearly black; where they look like others, a warning says so.

    Raises:
        ValueError: The levels cannot be pixels.
    """
    if levels.dtype.kind not in "buif" or not levels.size:
        return levels
    if levels.dtype.kind != "f":
        if problem := fault(levels, decides=False):
            raise ValueError(f"{caller}: {problem}")
        return scaled(levels)
    if np.isfinite(levels).all() and (problem := fault(levels)):
        logger.warning("%s scales pixel levels 0..255 itself. %s", caller, problem)
    return levels


def rgb_of_array(array: Any, are_pixels: bool = True, decides: bool = True) -> NDArray[Any]:
    """Return an image as RGB levels.

    Args:
        array: (height, width) or (height, width, channels): 1 channel of grey, 2 of grey and opacity, 3 of RGB, 4 of
            RGB and opacity. Levels 0..255, in uint16 0..65535. Transparent pixels are laid on white, as those of files.
        are_pixels, decides: As in :func:`fault`.

    Returns:
        (height, width, 3): floating levels in their own type, others as uint8.

    Raises:
        ValueError: The array is not an image; the message says what to pass.
    """
    given, array = array, as_array(array)
    if not array.ndim or array.dtype.kind in "OSU":
        got = f"an array of {array.dtype}" if array.ndim else type(given).__name__
        raise ValueError(
            "An image is a path, an address, the content of a file, a Pillow image, or an array of numbers (height, "
            f"width, 3); got {got}."
        )
    channels = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    # Whoever iterates over an image of color by mistake gets its rows, (width, 3).
    is_row = array.ndim == 2 and array.shape[1] in (3, 4)
    if channels not in (1, 2, 3, 4) or is_row or not array.size:
        hint = ""
        if is_row:
            hint = " That looks like a row of an image; a single image goes into a list, [image]."
        elif array.ndim == 4:
            hint = " Pass the images of a batch one at a time."
        elif array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " Channels come last: array.transpose(1, 2, 0)."
        raise ValueError(
            "An image is an array (height, width, 3) of at least one pixel, (height, width) or (height, width, 1) of "
            f"grey levels, or (height, width, 4) with opacity; got {array.shape}.{hint}"
        )
    is_whole = array.dtype.kind != "f"
    has_opacity = channels in (2, 4)
    if problem := fault(array, are_pixels or has_opacity, decides):
        raise ValueError(problem)
    if has_opacity and 0 < array[..., -1].max() <= HIGHEST_FRACTION:
        raise ValueError("Opacity is a number 0..255; got levels from 0 to 1. Pass it times 255, or leave it out.")
    array = scaled(array).reshape(*array.shape[:2], channels)
    if has_opacity:
        from PIL import Image

        levels = np.clip(np.rint(array), 0, 255).astype(np.uint8)
        return rgb_of_image(Image.fromarray(levels, "LA" if channels == 2 else "RGBA"))
    if is_whole:
        array = array.astype(np.uint8, copy=False)
    return np.repeat(array, 3, axis=2) if channels == 1 else array


def rgb_of_image(image: Image.Image) -> NDArray[np.uint8]:
    """Return a Pillow image of any mode, which is left unchanged, as RGB levels (height, width, 3).

    Raises:
        ValueError, OSError: The image has no pixels or NaN levels, its white is unknown, or its file cannot be decoded.
    """
    if not image.width or not image.height:
        raise ValueError("it has no pixels")
    if is_misread(image):
        raise ValueError("it is a TIFF file of a kind that Pillow misreads: pass its path")
    image.load()
    orientation = image.getexif().get(ORIENTATION, 1)
    upright = _empty_upright((image.height, image.width, 3), np.uint8, orientation)
    stored = _as_stored(upright, orientation)
    white = _white_level(image) if image.mode.startswith(("I", "F")) else None
    # Pillow itself inverts levels of up to 8 bits.
    is_inverted = white is not None and _tags(image).get(_PHOTOMETRIC) == 0
    transparent = image.info.get("transparency")
    for rows, strip in _strips(image):
        if white is None:
            stored[rows] = _rgb(strip)
            continue
        numbers = np.asarray(strip)
        levels = to_8_bits(numbers, white)
        levels = 255 - levels if is_inverted else levels
        if isinstance(transparent, int):  # as in a PNG file of 16 bits
            levels[numbers == transparent] = 255
        stored[rows] = levels[:, :, np.newaxis]
    return upright


def turned_upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an image (height, width, …) upright, by the orientation that a camera noted (EXIF)."""
    upright = _empty_upright(stored.shape, stored.dtype, orientation)
    _as_stored(upright, orientation)[...] = stored
    return upright


def is_misread(image: Image.Image) -> bool:
    """Return whether this is a TIFF file whose pixels Pillow gets wrong without an error.

    These are channels that lie apart in 16 bits, or with a fourth one; compressed numbers of more than 8 bits or
    floating ones in the other order of bytes, which it swaps twice; and numbers of 8 bits with a sign.
    """
    tags = _tags(image)
    if not tags:
        return False
    bits = max(tags.get(_BITS, (1,)))
    is_apart = tags.get(_PLANAR, 1) == 2 and (bits > 8 or tags.get(_SAMPLES, 1) > 3)
    is_swapped = tags.prefix == b"MM" and tags.get(_COMPRESSION, 1) != 1 and image.mode in ("I", "F")
    return is_apart or is_swapped or (bits == 8 and 2 in tags.get(_SAMPLE_FORMAT, ()))


def _tags(image: Image.Image) -> Any:
    """Return the tags of a TIFF file; none for other images."""
    return getattr(image, "tag_v2", {})


def _empty_upright(shape: tuple[int, ...], dtype: DTypeLike, orientation: int) -> NDArray[Any]:
    height, width, *channels = shape
    sides = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    return np.empty((*sides, *channels), dtype)


def _as_stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the same memory in the order in which a camera with this orientation (EXIF) stored it."""
    views = {
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.swapaxes(0, 1),
        6: lambda: np.rot90(upright),
        7: lambda: np.rot90(upright, 2).swapaxes(0, 1),
        8: lambda: np.rot90(upright, -1),
    }
    return views[orientation]() if orientation in views else upright


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    step = max(1, _STRIP // image.width)
    if step >= image.height:
        yield slice(None), image
        return
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return np.asarray(converted)
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow only converts it back to "LA"
            image = image.convert("LA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert() would copy it


def _white_level(image: Image.Image) -> float:
    """Return the level that stands for white."""
    highest = -np.inf
    for _, strip in _strips(image):
        levels = np.asarray(strip)
        if not np.isfinite(levels).all():
            raise ValueError("it has NaN or infinite levels")
        highest = max(highest, float(levels.max()))
    if image.mode.startswith("I") and 0 < highest <= 255:
        raise ValueError(
            f"white is 65535 in more than 8 bits, and its highest level is {highest:g}, which is all but black; if "
            "white is 255, it has to be in 8 bits"
        )
    return next((level for level in WHITE_LEVELS[image.mode[0]] if highest <= level), highest)


def to_8_bits(levels: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Return levels 0..255 for levels whose white is another number; darker than black becomes black."""
    scaled_levels: NDArray[np.float64] = np.clip(levels, 0, white) * (255 / white)
    return np.rint(scaled_levels).astype(np.uint8)
