"""How large images may be: options of every command that reads image files."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..common.text import notify
from .number_types import whole_amount

if TYPE_CHECKING:
    from ..datasets.data import Data


def add_options(parser: argparse.ArgumentParser, reduces: bool = False) -> None:
    """Add ``--max-pixels``; with ``reduces`` also ``--reduce-larger``, for commands that call :func:`source`."""
    parser.add_argument(
        "--max-pixels",
        type=whole_amount,
        metavar="N",
        help="refuse larger images (default: 89.5M, which is Pillow's limit)",
    )
    if reduces:
        parser.add_argument(
            "--reduce-larger",
            action="store_true",
            help="read larger JPEG files at a half, a quarter or an eighth of their size instead of refusing them",
        )


@contextlib.contextmanager
def limited(max_pixels: int | None) -> Iterator[None]:
    """Make ``--max-pixels`` Pillow's own limit, which every reader of images keeps, while a command runs."""
    if max_pixels is None:
        yield
        return
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def training_size(data: Data, largest: int, fit: bool) -> int:
    """Return the side to train images at, at most ``largest``; with ``fit`` less for small ones, which is reported."""
    from ..datasets.sizes import fitting_size

    size = fitting_size(data.side, largest) if fit else largest
    if size < largest:
        notify(f"the images are small, {data.side:g} pixels: enlarged to {size} (--image-size takes another size)")
    return size


def source(image: Any, arguments: argparse.Namespace, channels: int) -> Any:
    """Return the input of a predictor of this number of channels for a path, an address or a content."""
    options = {"reduce": arguments.reduce_larger, "timeout": getattr(arguments, "timeout", None)}
    if not any(options.values()):
        return image
    from ..images.loading import load_image

    given = {key: value for key, value in options.items() if value}
    return functools.partial(load_image, image, channels=channels, **given)
