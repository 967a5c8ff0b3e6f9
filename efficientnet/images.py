"""Image files of any kind -> RGB pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_ACCEPTED = "Accepted are pictures such as JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP and PPM."
_MAX_DOWNLOAD_BYTES = 100_000_000
_TIMEOUTS = (10, 30)  # seconds to connect, and between two pieces of the answer

# Image modes of more than 8 bits per pixel, and the levels that can stand for white in each.
_WHITE_LEVELS = {"I": (65535,), "F": (1, 255, 65535)}


class UnreadableImageError(OSError):
    """What was to be an image is something else, damaged, too large or out of reach."""


def load_image(source: str | Path | bytes | IO[bytes]) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen.

    The orientation that a camera noted (EXIF) is applied. Transparent pixels are laid on white,
    an animation or a file of several pages gives its first picture. Levels of more than 8 bits are
    scaled down, not cut off: 65535 becomes 255; in 32-bit files the largest level does if it is
    greater than that; in floating files white is 1, 255, 65535 or the largest level, whichever is
    the first to hold them all. Levels below 0 are black.

    Args:
        source: A path, an http(s) URL, the content of an image file as bytes, or a file object
            opened for reading bytes, which is read from where it stands to its end.

    Returns:
        (height, width, 3) uint8, RGB levels 0..255.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableImageError: The source is no image, damaged, cut short, a folder, larger than
            ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb), or cannot be downloaded. The
            message says which source, and what was found.
        TypeError: ``source`` is none of the above.
    """
    from PIL import Image, UnidentifiedImageError

    name, file = _open(source)
    with file:
        try:
            with Image.open(file, formats=_formats()) as image:
                _refuse_bomb(image)
                return _to_rgb(image)
        except UnidentifiedImageError as error:
            file.seek(0)
            raise UnreadableImageError(f"{name} is {_describe(file.read(512))}. {_ACCEPTED}") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnreadableImageError(
                f"{name} has too many pixels: {error} If you trust it, raise "
                "PIL.Image.MAX_IMAGE_PIXELS, or make the image smaller."
            ) from error
        except Exception as error:  # damaged files raise nearly anything within Pillow's decoders
            raise UnreadableImageError(
                f"{name} is damaged or of an unusual kind: {error}. Save it anew in an image editor. {_ACCEPTED}"
            ) from error


def _open(source: Any) -> tuple[str, IO[bytes]]:
    """A name for messages, and a seekable binary file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"The given content ({len(source)} bytes)", io.BytesIO(source)
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return source, io.BytesIO(_download(source))
    if isinstance(source, (str, Path)):
        if Path(source).is_dir():
            raise UnreadableImageError(f"{source} is a folder. Pass the image files inside it.")
        return str(source), open(source, "rb")
    content = source.read() if hasattr(source, "read") else None
    if not isinstance(content, bytes):
        raise TypeError(
            "load_image takes a path, an http(s) URL, bytes, or a file opened in binary mode; got "
            f"{type(source).__name__}."
        )
    return f"The given file {getattr(source, 'name', '')!r}", io.BytesIO(content)


def _download(url: str) -> bytes:
    import requests

    content = bytearray()
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUTS) as response:
            response.raise_for_status()
            for piece in response.iter_content(chunk_size=65536):
                content += piece
                if len(content) > _MAX_DOWNLOAD_BYTES:
                    raise UnreadableImageError(
                        f"{url} is larger than {_MAX_DOWNLOAD_BYTES // 10**6} MB. Download it "
                        "yourself and pass the file."
                    )
    except requests.RequestException as error:
        raise UnreadableImageError(
            f"Cannot download {url}: {error}. Check the address and the connection, or pass a file."
        ) from error
    return bytes(content)


def _formats() -> list[str]:
    """Every format that Pillow reads, but for programs: it would hand EPS to Ghostscript."""
    from PIL import Image

    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def _refuse_bomb(image: Image.Image) -> None:
    """Raise DecompressionBombError where Pillow, which tolerates twice its limit, only warns."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels exceed the limit of {limit}.")


def _describe(head: bytes) -> str:
    """What a file that begins like this is, if not an image."""
    text = head.lstrip().lower()
    if not head:
        return "empty (0 bytes)"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image; a web address must be that of the image itself"
    if b"<svg" in text:
        return "an SVG drawing, not a pixel image; export it as PNG"
    if text.startswith(b"%pdf"):
        return "a PDF document, not an image; export its page as PNG"
    return f"not an image that can be read; it begins with {head[:16]!r}"


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bits(np.asarray(image), _WHITE_LEVELS[image.mode[0]])
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # convert() would copy it


def _to_8_bits(levels: NDArray[Any], white_levels: tuple[int, ...]) -> NDArray[np.uint8]:
    if not np.isfinite(levels).all():
        raise ValueError("it has NaN or infinite levels")
    highest = levels.max()
    white = next((level for level in white_levels if highest <= level), highest)
    scaled: NDArray[np.float64] = np.clip(levels, 0, white) * (255 / float(white))
    return np.rint(scaled).astype(np.uint8, copy=False)
