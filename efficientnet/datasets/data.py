"""Labelled images, split into those to train on and those to validate with."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.text import some
from ..images.loading import load_image
from ..images.pixel_scaling import EVALUATION_CROP
from ..images.resizing import center_crop_and_resize
from .splits import Entry, falls_below, write_part
from .targets import Targets


@dataclass(frozen=True)
class Data:
    """Labelled images, split for training and validation.

    Attributes:
        name: Name of the data set.
        pixels: (images, height, width, channels) uint8, levels 0..255 of RGB, grey or other channels; or
            :class:`Files`, which are read anew each time and whose sizes differ.
        targets: What is to be predicted for each image.
        training: Indices of the training images; an image that cannot be read is in neither part.
        validation: Indices of the validation images.
        crop: Part of an image's shorter side that evaluation keeps, 0..1.
        side: Usual shorter side of the images as they came, pixels; None if it is not known.
        entries: File of each image; empty for images from elsewhere.
    """

    name: str
    pixels: Any
    targets: Targets
    training: NDArray[np.integer[Any]]
    validation: NDArray[np.integer[Any]]
    crop: float = EVALUATION_CROP
    side: float | None = None
    entries: Sequence[Entry] = ()

    @property
    def classes(self) -> list[str]:
        """Names of the outputs: of the classes, labels or values."""
        return self.targets.names

    @property
    def channels(self) -> int:
        """Number of channels of each image."""
        return self.pixels.channels if isinstance(self.pixels, Files) else int(self.pixels.shape[-1])

    def with_classes(self, names: Sequence[str]) -> Data:
        """Return the same images with their classes in this order.

        Raises:
            ValueError: These are not the names of the classes, each once.
        """
        if sorted(names) != sorted(self.classes):
            wrong = [f"no images of {name!r}" for name in names if name not in self.classes]
            wrong += [f"no name for {name!r}" for name in self.classes if name not in names]
            raise ValueError(
                f"{self.name} has {len(self.classes)} {self.targets.what}, and {len(names)} names are given for them: "
                + (some(wrong) or "one of these comes twice")
                + ". Give each class its name once (--classes)."
            )
        return dataclasses.replace(self, targets=self.targets.reordered(names))

    def resized(self, size: int) -> Data:
        """Return the same images at ``size`` x ``size`` pixels; :class:`Files` stay unchanged."""
        if isinstance(self.pixels, Files) or self.pixels.shape[1:3] == (size, size):
            return self
        pixels = temporary_array((len(self.pixels), size, size, self.channels))

        def resize(index: int) -> None:
            pixels[index] = square(self.pixels[index], size, 1.0)

        with ThreadPoolExecutor() as threads:
            for _ in threads.map(resize, range(len(pixels))):
                pass
        return dataclasses.replace(self, pixels=pixels)

    def subset(self, training: int | None, validation: int | None, seed: int) -> Data:
        """Draw these numbers of images of each part at random; None, or more than there are, keeps all."""
        if training is None and validation is None:
            return self
        rng = np.random.default_rng(seed)
        rows = [
            np.sort(rng.permutation(side)[:count])
            for side, count in ((self.training, training), (self.validation, validation))
        ]
        kept = np.concatenate(rows)
        new = np.arange(len(kept))
        return dataclasses.replace(
            self, pixels=self.pixels[kept], targets=self.targets.take(kept),
            training=new[: len(rows[0])], validation=new[len(rows[0]) :],
            entries=[self.entries[row] for row in kept] if self.entries else (),
        )  # fmt: skip

    def without(self, rows: NDArray[np.integer[Any]]) -> Data:
        """Return the same images, of which these indices are in neither part."""
        return dataclasses.replace(
            self, training=np.setdiff1d(self.training, rows), validation=np.setdiff1d(self.validation, rows)
        )

    def undivided(self) -> Data:
        """Return the same images, all of both parts to train on."""
        rows = np.sort(np.concatenate([self.training, self.validation]))
        return dataclasses.replace(self, training=rows, validation=rows[:0])

    def contents(self, rows: NDArray[np.integer[Any]]) -> list[str]:
        """Return a text for each of these images that only copies of it share."""
        if self.entries:
            return [self.entries[row].sha256 for row in rows]
        return [hashlib.sha256(np.ascontiguousarray(self.pixels[row]).tobytes()).hexdigest() for row in rows]

    def fingerprint(self) -> str:
        """Return a hash that identifies this data and its split, from targets, split and files, not from pixels."""
        rows = np.concatenate([self.training, self.validation]).astype(np.int64)
        files = "".join(entry.sha256 for entry in self.entries)
        return hashlib.sha256(self.targets.content() + rows.tobytes() + files.encode()).hexdigest()

    def write_parts(self, run: Path) -> None:
        """Write the tables of the training files and the validation files into a folder; none for other images.

        In a cross-validation no file is for validation alone, and there is no table of them.
        """
        for part, rows in (("training", self.training), ("validation", self.validation)) if self.entries else ():
            cells = [self.targets.cells(int(row)) for row in rows]
            if cells:
                write_part(run, part, [self.entries[row] for row in rows], self.targets.columns, cells)

    def check(self) -> None:
        """Check that there is something to learn, and images to train on and to validate with.

        Raises:
            ValueError: The targets cannot be learned from the training images, or there is nothing to validate with.
        """
        weights = self.targets.weights
        for part, rows in (("train on", self.training), ("validate with", self.validation)):
            if weights is not None and len(rows) and not weights[rows].any():
                raise ValueError(
                    f"{self.name}: all images to {part} have the weight 0, so none counts: give some another weight, "
                    "or change --validation or --folds."
                )
        self.targets.check(self.name, self.training, self.validation)
        if not len(self.validation):
            raise ValueError(
                "No image was held out for validation: add images, raise --validation, or pass a folder with it."
            )


class Files(Sequence[NDArray[np.uint8]]):
    """Image files, each decoded when it is requested: (height, width, channels) uint8, of any sizes."""

    def __init__(self, paths: Sequence[Path], channels: int = 3) -> None:
        self.paths = paths
        self.channels = channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        """Return an image, or, for several indices, their files."""
        if np.ndim(index):
            return Files([self.paths[each] for each in index], self.channels)
        return load_image(self.paths[index], channels=self.channels)


def square(pixels: NDArray[np.uint8], size: int, crop: float) -> NDArray[np.uint8]:
    """Cut the central square, ``crop`` of the shorter side, and resize it."""
    if pixels.shape[:2] == (size, size) and crop == 1:
        return pixels
    resized = center_crop_and_resize(pixels, size, crop_padding=size / crop - size)
    levels: NDArray[np.uint8] = np.rint(resized).astype(np.uint8)
    return levels


def temporary_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Create an array of bytes in a nameless temporary file, not in memory (``TMPDIR`` is its folder)."""
    with tempfile.TemporaryFile() as file:  # the array keeps a second handle
        return np.memmap(file, np.uint8, "w+", shape=shape)


def is_held_out(content: bytes, fraction: float) -> bool:
    """Return whether a file is held out. Its content decides: new files move no other, and copies stay together."""
    return falls_below(hashlib.sha256(content).digest(), fraction)
