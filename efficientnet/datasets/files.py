"""Labelled images from folders of classes and from tables."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..common.files import read_bytes
from ..common.text import lines, notify, plain
from ..images.loading import load_image
from .data import Data, Files, square, temporary_array
from .folders import find_images, parent_hint
from .labelled import Labelled, What, find_targets
from .sizes import evaluation_crop, fitting_size, usual_side
from .splits import Entry
from .targets import Classes, Rows, Targets

_CLASSES = What()


def load_files(
    data: Path, validation: float | Path, size: int | None, channels: int = 3, what: What = _CLASSES, fit: bool = False
) -> Data:
    """Read a folder of class folders, or the files that a table names; what is left out is reported on stderr.

    The pixels lie in a nameless temporary file, not in memory (``TMPDIR`` is its folder). Small images are kept whole;
    of others the central part is, as everywhere.

    Args:
        data: Folder or CSV file, as :func:`.labelled.find_targets` takes it.
        validation: Fraction of the files to hold out, decided by each file's content; or a folder or CSV file like
            ``data`` with no further classes.
        size: Side of the square that each image is cropped and resized to, pixels. None leaves the images whole in
            their files, which have to stay.
        channels: Channels of the images, as ``load_image`` reads them.
        what: What is to be read as the targets.
        fit: Whether small images get a smaller side than ``size``, by :func:`.sizes.fitting_size`.

    Raises:
        FileNotFoundError, ValueError: The data is not as described.
    """
    found = _find(data, what)
    targets, paths = found.targets, list(found.paths)
    sides: Sequence[str | None] = [None] * len(paths)
    if len(targets.names) < 2 and isinstance(targets, Classes):
        hint = parent_hint(data) if data.is_dir() else ""
        raise ValueError(
            f"{data} holds images of one class, {targets.names[0]}: expected at least 2 to distinguish.{hint}"
        )
    if isinstance(validation, Path):
        held_out = _find(validation, what)
        if unknown := sorted(set(held_out.targets.names) - set(targets.names)):
            raise ValueError(
                f"{validation} has {targets.what} that {data} does not have: {', '.join(unknown)}. Add images of them "
                "to train on, or take them out."
            )
        if held_out.says_each and (lacking := [name for name in targets.names if name not in held_out.targets.names]):
            raise ValueError(
                f"{validation} has no column of {', '.join(lacking)}, which {data} has: add the column, 1 where the "
                "label applies, or 0; or take it out of both."
            )
        sides = ["training"] * len(paths) + ["validation"] * len(held_out.paths)
        targets, paths = targets.joined(held_out.targets), [*paths, *held_out.paths]
        validation = 0.0
    name = data.resolve().name if data.is_dir() else data.stem
    side = usual_side(paths, channels)
    if fit and size is not None:
        size = fitting_size(side, size)
    read = _read(name, paths, targets, sides, validation, size, channels, evaluation_crop(side))
    return dataclasses.replace(read, side=side)


def load_unlabelled(folder: Path, size: int | None, channels: int = 3, *, crop: float) -> Data:
    """Read all images of a folder and the folders within it, as images to train on of one class without a meaning.

    Args:
        folder: Folder of images.
        size, channels: As in :func:`load_files`.
        crop: Part of an image's shorter side that is kept, 0..1.

    Raises:
        FileNotFoundError, ValueError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: expected one of images without labels.")
    listing = find_images(folder)
    if note := listing.note(folder):
        notify(plain(note))
    if not (paths := listing.images):
        raise ValueError(f"{folder} holds no images: expected a folder of images without labels.")
    targets = Classes(["unlabelled"], np.zeros(len(paths), np.int64))
    return _read(folder.name, paths, targets, ["training"] * len(paths), 0.0, size, channels, crop)


def _find(data: Path, what: What) -> Labelled:
    """List the files of a folder or a table; what is left out is reported."""
    found = find_targets(data, what)
    for note in found.notes:
        notify(plain(note))
    return found


def _read(
    name: str,
    paths: Sequence[Path],
    targets: Targets,
    sides: Sequence[str | None],
    fraction: float,
    size: int | None,
    channels: int,
    crop: float,
) -> Data:
    """Read files of known targets; their sides are "training", "validation", or None if their content decides."""
    whole = Files(paths, channels)
    pixels: Any = whole if size is None else temporary_array((len(paths), size, size, channels))
    digests: list[bytes] = [b""] * len(paths)

    def load(index: int) -> bool:
        """Fill in an image's pixels; return whether it could be read."""
        try:
            content = read_bytes(paths[index])
            pixels_of_file = load_image(content, channels=channels)
        except (OSError, ValueError) as error:
            tqdm.write(f"efficientnet: skipped {plain(paths[index])}: {lines(error)}", file=sys.stderr)
            return False
        if size is not None:
            pixels[index] = square(pixels_of_file, size, crop)
        digests[index] = hashlib.sha256(content).digest()
        return True

    with ThreadPoolExecutor() as threads:
        loaded = threads.map(load, range(len(paths)))
        is_read = np.array(list(tqdm(loaded, total=len(paths), unit="image", leave=False, disable=None)), bool)
    _notify_contradictions(paths, targets, digests)
    held_out = np.array([side == "validation" for side in sides])
    if open_rows := [row for row, side in enumerate(sides) if is_read[row] and side is None]:
        held_out[open_rows] = targets.take(np.array(open_rows)).split([digests[row] for row in open_rows], fraction)
    training, held_out_rows = np.flatnonzero(is_read & ~held_out), np.flatnonzero(is_read & held_out)
    _notify_overlap(digests, training, held_out_rows)
    entries = [Entry(path, digest.hex()) for path, digest in zip(paths, digests, strict=True)]
    return Data(name, pixels, targets, training, held_out_rows, crop, entries=entries)


def _notify_contradictions(paths: Sequence[Path], targets: Targets, digests: Sequence[bytes]) -> None:
    """Report files with the same content but different targets."""
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        other = first.setdefault(digest, row)
        if digest and targets.text(other) != targets.text(row):
            both = ", ".join(f"{plain(paths[one])} {plain(targets.text(one))}" for one in (other, row))
            notify(f"the same image has two labels: {both}")


def _notify_overlap(digests: Sequence[bytes], training: Rows, validation: Rows) -> None:
    """Report the number of images, by content, that are in both parts."""
    trained = {digests[row] for row in training}
    held_out = [digests[row] in trained for row in validation]
    if any(held_out):
        notify(
            f"{sum(held_out)} of the {len(held_out)} images to validate with are trained on, too, so the accuracy is "
            "higher than on others: take them out of one of the parts"
        )
