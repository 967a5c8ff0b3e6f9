"""Image files of any kind -> RGB pixels."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments, web
from ..common.daemons import within
from ..common.files import check_is_file
from ..common.memory import keep_freed_memory
from ..common.text import plain
from ..errors import UnreadableImageError
from . import bands
from .pixels import is_misread, is_pillow

if TYPE_CHECKING:
    from PIL import Image

_ACCEPTED = "Accepted are images such as JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP and PPM, and arrays of NumPy (.npy)."
_MAX_DOWNLOAD_BYTES = 100_000_000
DOWNLOAD_SECONDS = 60.0  # time limit for a whole image
_TIMEOUTS = (10, 30)  # seconds to connect, and between two pieces of the response
_PIECE = 1 << 16  # bytes
# Scans of a progressive JPEG file with the most pixels, each of which passes over them all; encoders write a dozen.
_MOST_SCANS = 20


def load_image(
    source: str | os.PathLike[str] | bytes | IO[bytes] | Image.Image,
    reduce: bool = False,
    timeout: float = DOWNLOAD_SECONDS,
    channels: int = 3,
) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen.

    The orientation that a camera noted (EXIF) is applied. Transparent pixels are laid on white,
    an animation or a file of several pages gives its first image. Levels of more than 8 bits are
    scaled down, not cut off: 65535 becomes 255; in 32-bit files the largest level does if it is
    greater than that; in floating files white is 1, 255, 65535 or the largest level, whichever is
    the first to hold them all. Levels below 0 are black.

    Args:
        source: A path, an http(s) URL, the content of an image file as bytes, a file object
            opened for reading bytes, which is read from where it stands to its end, or a Pillow
            image of any mode, which is left unchanged.
        reduce: Decode a JPEG file that has more than ``PIL.Image.MAX_IMAGE_PIXELS``
            pixels at a half, a quarter or an eighth of its size, the largest that has no more,
            instead of refusing it. Smaller files are decoded whole.
        timeout: Seconds that the download of an address may take as a whole.
        channels: Channels of the result: 3 for RGB, 1 for grey, which is the luminance of colors. For others the file
            has to have as many: a NumPy array (.npy), a TIFF file, or for 4 also RGBA, whose last is then no opacity.

    Returns:
        (height, width, channels) uint8, levels 0..255.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableImageError: The source is not an image, damaged, cut short, a folder, a pipe or a device, larger than
            ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb), or cannot be downloaded. The
            message says which source, and what was found.
        TypeError: ``source`` is not one of the above.

    Example:
        >>> load_image("misc/panda.jpg").shape
        (600, 800, 3)
    """
    from PIL import UnidentifiedImageError

    arguments.whole("channels", channels)
    keep_freed_memory()
    if is_pillow(source):
        with _explained(f"The given Pillow image of mode {source.mode}"):
            return bands.of_image(source, channels)
    name, file = _open(source, timeout)
    with file, _explained(name, file):
        start = file.read(16)
        if bands.is_npy(start) or (bands.is_tiff(start) and channels not in (1, 3)):
            return _load_bands(file, channels)
        try:
            image = _identify(file)
        except UnidentifiedImageError:
            if bands.is_tiff(start) and find_spec("tifffile"):  # such as one with 16 bits in each of several channels
                return _load_bands(file, channels)
            raise
        with image:
            if is_misread(image):
                return _load_bands(file, channels)
            _limit(image, reduce)
            _limit_scans(image, file)
            return bands.of_image(image, channels)


def is_address(source: Any) -> bool:
    """Return whether this is an http(s) URL."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _load_bands(file: IO[bytes], channels: int) -> NDArray[np.uint8]:
    from PIL import Image

    file.seek(0)
    return bands.of_file(file.read(), channels, Image.MAX_IMAGE_PIXELS)


@contextlib.contextmanager
def _explained(name: str, file: IO[bytes] | None = None) -> Iterator[None]:
    """Turn whatever Pillow raises into an UnreadableImageError; damaged files raise nearly anything within it."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImportError as error:
        raise UnreadableImageError(f"{name} cannot be read: {error}.") from None
    except UnidentifiedImageError:
        head = b""
        if file is not None:
            file.seek(0)
            head = file.read(512)
        raise UnreadableImageError(f"{name} is {_describe(head)}. {_ACCEPTED}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(
            f"{name} has too many pixels: {error} If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS (--max-pixels of "
            "the commands), have a JPEG file read at a reduced size (reduce=True, --reduce-larger), or make the image "
            "smaller."
        ) from None
    except Exception as error:
        raise UnreadableImageError(
            f"{name} is damaged or of an unusual kind: {error}. Save it anew in an image editor. {_ACCEPTED}"
        ) from None


def _open(source: Any, timeout: float) -> tuple[str, IO[bytes]]:
    """Return a name for messages, and a seekable binary file."""
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"The given content ({len(source)} bytes)", io.BytesIO(source)
    if is_address(source):
        return plain(source), io.BytesIO(_download(source, timeout))
    if isinstance(source, str):
        try:
            check_is_file(source)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableImageError(str(error)) from None
        return plain(source), open(source, "rb")
    content = source.read() if hasattr(source, "read") and not isinstance(source, io.TextIOBase) else None
    if not isinstance(content, bytes):
        raise TypeError(
            "load_image takes a path, an http(s) URL, bytes, a file opened in binary mode, or a Pillow image; got "
            f"{type(source).__name__}."
        )
    name = getattr(source, "name", None)
    return "The given file" if name is None else f"The given file {name!r}", io.BytesIO(content)


def _download(url: str, seconds: float) -> bytes:
    import requests

    try:
        return within(seconds, functools.partial(_receive, url, time.monotonic() + seconds))
    except TimeoutError:
        raise UnreadableImageError(
            f"{plain(url)} takes longer than {seconds:g} seconds to download. Give it more (timeout=, --timeout of the "
            "commands), or download it yourself and pass the file."
        ) from None
    except requests.RequestException as error:
        raise UnreadableImageError(
            f"Cannot download {plain(url)}: {plain(error)}. Check the address and the connection, or pass a file."
        ) from None


def _receive(url: str, deadline: float) -> bytes:
    """Return the content at an address; end soon after the deadline even where a server never stops sending."""
    import requests
    from urllib3.exceptions import HTTPError

    content = bytearray()
    with web.open_session() as session, web.get(session, url, timeout=_TIMEOUTS) as response:
        response.raise_for_status()
        try:
            # Unlike iter_content it returns what has come, and does not wait for more until a piece is full.
            while piece := response.raw.read1(_PIECE, decode_content=True):
                content += piece
                if len(content) > _MAX_DOWNLOAD_BYTES:
                    raise UnreadableImageError(
                        f"{plain(url)} is larger than {_MAX_DOWNLOAD_BYTES // 10**6} MB. Download it yourself and pass "
                        "the file."
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError
        except HTTPError as error:
            raise requests.ConnectionError(error) from None
    return bytes(content)


def _identify(file: IO[bytes]) -> Image.Image:
    """Open an image as ``Image.open`` does, but without its limit of pixels, which would refuse a file to be reduced.

    Every format that Pillow reads is tried, except EPS, which it would hand to a program, Ghostscript.
    """
    from PIL import Image, UnidentifiedImageError

    file.seek(0)
    start = file.read(16)
    tried = {"EPS"}
    for load_plugins in (Image.preinit, Image.init):  # the common formats first: all the others take 50 ms to import
        load_plugins()
        for name in [name for name in Image.OPEN if name not in tried]:
            tried.add(name)
            make, accepts = Image.OPEN[name]
            try:
                accepted = accepts is None or accepts(start)
                if accepted and not isinstance(accepted, str):  # a text says why it cannot be read
                    file.seek(0)
                    return make(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # it is of another format
                continue
    raise UnidentifiedImageError


def _limit(image: Image.Image, reduce: bool) -> None:
    """Keep an image that is not decoded yet within Pillow's limit; Pillow itself only warns up to twice of it."""
    from PIL import Image

    limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if limit is None or pixels <= limit:
        return
    halvings = next((n for n in (1, 2, 3) if -(-image.width >> n) * -(-image.height >> n) <= limit), None)
    if reduce and halvings and image.format in ("JPEG", "MPO"):
        image.draft(None, (image.width >> halvings, image.height >> halvings))
    else:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels exceed the limit of {limit}.")


def _limit_scans(image: Image.Image, file: IO[bytes]) -> None:
    """Refuse a JPEG file of many scans, whose decoding takes hours: a scan may have some bytes only."""
    from PIL import Image

    if not image.info.get("progressive") or Image.MAX_IMAGE_PIXELS is None:
        return
    position = file.tell()
    file.seek(0)
    scans = file.read().count(b"\xff\xda")
    file.seek(position)
    if scans * image.width * image.height > _MOST_SCANS * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(
            f"{scans} scans of {image.width} x {image.height} pixels exceed the limit of {_MOST_SCANS} scans of "
            f"{Image.MAX_IMAGE_PIXELS}."
        )


def _describe(head: bytes) -> str:
    """Describe what a file with this beginning is, if not an image."""
    text = head.lstrip().lower()
    if not head:
        return "empty (0 bytes)"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image; a web address must be that of the image itself"
    if b"<svg" in text:
        return "an SVG drawing, not a pixel image; export it as PNG"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a TIFF file of a kind that cannot be read, such as colors in floating numbers; save it in 8 or 16 bits"
    if text.startswith(b"%pdf"):
        return "a PDF document, not an image; export its page as PNG"
    return f"not an image that can be read; it begins with {head[:16]!r}"
