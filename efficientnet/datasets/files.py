"""Labelled images from folders of classes and from tables."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..common.text import lines, notify, plain
from ..images.loading import load_image
from ..images.pixel_scaling import EVALUATION_CROP
from .data import Data, Files, falls_below, square, temporary_array
from .folders import parent_hint
from .samples import find_samples
from .splits import Entry
from .targets import Classes


class Item(NamedTuple):
    """A file of a known class; ``side`` is "train", "validation", or None if its content decides."""

    path: Path
    label: str
    side: str | None = None


def load_files(data: Path, validation: float | Path, size: int | None, channels: int = 3) -> Data:
    """Read a folder of class folders, or the files that a table names; what is left out is reported on stderr.

    The pixels lie in a nameless temporary file, not in memory (``TMPDIR`` is its folder).

    Args:
        data: Folder or CSV file, as ``samples.find_samples`` takes it.
        validation: Fraction of the files to hold out, decided by each file's content; or a folder or CSV file like
            ``data`` with no further classes.
        size: Side of the square that each image is cropped and resized to, pixels. None leaves the images whole in
            their files, which have to stay.
        channels: Channels of the images, as ``load_image`` reads them.

    Raises:
        FileNotFoundError, ValueError: The data is not as described.
    """
    is_apart = isinstance(validation, Path)
    items = _items(data, "train" if is_apart else None)
    classes = sorted({item.label for item in items})
    if len(classes) < 2:
        hint = parent_hint(data) if data.is_dir() else ""
        raise ValueError(f"{data} holds images of one class, {classes[0]}: expected at least 2 to distinguish.{hint}")
    if isinstance(validation, Path):
        held_out = _items(validation, "validation")
        if unknown := sorted({item.label for item in held_out} - set(classes)):
            raise ValueError(
                f"{validation} has classes that {data} does not have: {', '.join(unknown)}. Add images of them to "
                "train on, or take them out."
            )
        items += held_out
        validation = 0.0
    name = data.resolve().name if data.is_dir() else data.stem
    return load_items(name, items, classes, validation, size, channels)


def _items(data: Path, side: str | None) -> list[Item]:
    """List the files of a folder or a table; what is left out is reported."""
    samples = find_samples(data)
    for note in samples.notes:
        notify(plain(note))
    return [Item(sample.path, sample.label, side) for sample in samples.found]


def load_items(
    name: str, items: Sequence[Item], classes: list[str], fraction: float, size: int | None, channels: int = 3
) -> Data:
    """Read files of known classes; see :func:`load_files`."""
    whole = Files([item.path for item in items], channels)
    pixels: Any = whole if size is None else temporary_array((len(items), size, size, channels))
    digests: list[bytes] = [b""] * len(items)

    def load(index: int) -> int:
        """Fill in an image's pixels; return 0 to train on it, 1 to validate, -1 if it cannot be read."""
        item = items[index]
        try:
            content = item.path.read_bytes()
            pixels_of_file = load_image(content, channels=channels)
        except (OSError, ValueError) as error:
            tqdm.write(f"efficientnet: skipped {plain(item.path)}: {lines(error)}", file=sys.stderr)
            return -1
        if size is not None:
            pixels[index] = square(pixels_of_file, size, EVALUATION_CROP)
        digests[index] = hashlib.sha256(content).digest()
        return int(item.side == "validation" or (item.side is None and falls_below(digests[index], fraction)))

    with ThreadPoolExecutor() as threads:
        loaded = threads.map(load, range(len(items)))
        use = np.array(list(tqdm(loaded, total=len(items), unit="image", leave=False, disable=None)), int)
    _notify_contradictions(items, digests)
    _notify_overlap(digests, use)
    targets = Classes(classes, np.array([classes.index(item.label) for item in items]))
    entries = [Entry(item.path, item.label, digest.hex()) for item, digest in zip(items, digests, strict=True)]
    return Data(
        name, pixels, targets, np.flatnonzero(use == 0), np.flatnonzero(use == 1), entries=entries
    )  # fmt: skip


def _notify_contradictions(items: Sequence[Item], digests: Sequence[bytes]) -> None:
    """Report files with the same content but different classes."""
    first: dict[bytes, Item] = {}
    for item, digest in zip(items, digests, strict=True):
        other = first.setdefault(digest, item)
        if digest and other.label != item.label:
            both = ", ".join(f"{plain(found.path)} {plain(found.label)}" for found in (other, item))
            notify(f"the same image has two labels: {both}")


def _notify_overlap(digests: Sequence[bytes], use: NDArray[np.integer[Any]]) -> None:
    """Report the number of images, by content, that are in both parts."""
    trained = {digest for digest, part in zip(digests, use, strict=True) if part == 0}
    held_out = [digest in trained for digest, part in zip(digests, use, strict=True) if part == 1]
    if any(held_out):
        notify(
            f"{sum(held_out)} of the {len(held_out)} images to validate with are trained on, too, so the accuracy is "
            "higher than on others: take them out of one of the parts"
        )
