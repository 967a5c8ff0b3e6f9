"""The tasks of the study: small sets of images that come with packages, each drawn anew for each seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efficientnet.datasets.builtin import load_digits, load_fashion_mnist
from efficientnet.evaluation import average_precision
from efficientnet.images.resizing import center_crop_and_resize

SIZE = 96  # pixels, of every image
_TEXTURES = ("brick", "grass", "gravel")
_WRONG = 0.2  # share of wrong labels
_LONG_TAIL = (250, 5)  # training images of the most and the least frequent class


@dataclass(frozen=True)
class Part:
    """Images and their targets.

    Attributes:
        pixels: (images, SIZE, SIZE, 3) uint8.
        targets: (images,) indices of classes, or (images, labels) of 1 and 0.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Task:
    """A task: images to train on, images to choose an epoch or a setting with, and images to test on once.

    Attributes:
        names: Names of the classes or labels.
        mirrors: Whether a mirrored image is of the same class.
    """

    name: str
    names: list[str]
    training: Part
    validation: Part
    test: Part
    mirrors: bool = True

    @property
    def has_labels(self) -> bool:
        """Whether an image has any number of labels, instead of one class."""
        return self.test.targets.ndim == 2

    def score(self, outputs: NDArray[np.floating[Any]], part: Part | None = None) -> float:
        """Return the accuracy of (images, outputs) on the test images, or another part.

        It is the mean recall of the classes where their numbers differ, and the mean average precision of labels.
        """
        truth = (part or self.test).targets
        if self.has_labels:
            pairs = zip(outputs.T, truth.T, strict=True)
            return float(np.nanmean([average_precision(column, applies == 1) for column, applies in pairs]))
        right = outputs.argmax(axis=1) == truth
        return float(np.mean([right[truth == index].mean() for index in np.unique(truth)]))


def _per_class(
    labels: NDArray[Any], rows: NDArray[Any], counts: Mapping[int, int], rng: np.random.Generator
) -> NDArray[Any]:
    """Draw so many of these rows of each class."""
    drawn = [rng.permutation(rows[labels[rows] == index])[:count] for index, count in counts.items()]
    return rng.permutation(np.concatenate(drawn))


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize square images to SIZE."""
    resized = [center_crop_and_resize(image, SIZE, crop_padding=0) for image in pixels]
    return np.rint(resized).astype(np.uint8)


def _digits(count: int | None, seed: int) -> Task:
    """Scikit-learn's digits; ``count`` of each class to train on, or all."""
    data, rng = load_digits(0.2, SIZE), np.random.default_rng(seed)
    pixels, labels = data.pixels, data.targets.values
    order = rng.permutation(len(labels))
    test, rest = order[:360], order[360:]
    validation = _per_class(labels, rest, dict.fromkeys(range(10), max(2, (count or 120) // 4)), rng)
    training = np.setdiff1d(rest, validation)
    if count:
        training = _per_class(labels, training, dict.fromkeys(range(10), count), rng)
    parts = [Part(pixels[rows], labels[rows]) for rows in (training, validation, test)]
    return Task(f"digits-{count or 'all'}", list(data.classes), *parts, mirrors=False)


@functools.cache
def _fashion_arrays() -> tuple[NDArray[np.uint8], NDArray[Any], list[str]]:
    data = load_fashion_mnist()
    return data.pixels, data.targets.values, list(data.classes)


def _fashion(count: int, seed: int, wrong: float = 0.0, tail: tuple[int, int] | None = None) -> Task:
    """Fashion-MNIST: its test images, ``count`` of the others to train on, and a quarter as many to choose with."""
    pixels, labels, names = _fashion_arrays()
    rng = np.random.default_rng(seed)
    order = rng.permutation(60_000)
    training, validation = order[:count], order[count : count + count // 4]
    if tail:
        most, least = tail
        counts = {index: round(most * (least / most) ** (index / 9)) for index in range(10)}
        training = _per_class(labels, order[10_000:], counts, rng)
        validation = _per_class(labels, order[:10_000], {i: max(2, n // 4) for i, n in counts.items()}, rng)
    rows = (training, validation, np.arange(60_000, 70_000))
    parts = [Part(_enlarged(pixels[part]), labels[part].copy()) for part in rows]
    for part in parts[:2] if wrong else []:
        chosen = rng.permutation(len(part.targets))[: round(wrong * len(part.targets))]
        part.targets[chosen] = (part.targets[chosen] + rng.integers(1, 10, len(chosen))) % 10
    name = "fashion-wrong" if wrong else "fashion-tail" if tail else f"fashion-{count}"
    return Task(name, names, *parts)


def _composites(seed: int) -> Task:
    """Two of scikit-learn's digits at random places of an image; the labels are the digits in it."""
    data, rng = load_digits(0.2, 8, channels=1), np.random.default_rng(seed)
    digits, labels = data.pixels.reshape(-1, *data.pixels.shape[1:3]), data.targets.values
    order = rng.permutation(len(labels))
    parts = []
    # Digits of one part are in no other.
    for count, rows in ((1200, order[:1000]), (300, order[1000:1300]), (1000, order[1300:])):
        images, truth = np.zeros((count, 24, 24), np.uint8), np.zeros((count, 10), np.int64)
        for image, applies in zip(images, truth, strict=True):
            for row, left in zip(rng.choice(rows, 2, replace=False), (0, 12), strict=True):
                top, shift = rng.integers(0, 17), left + rng.integers(0, 5)
                image[top : top + 8, shift : shift + 8] = np.resize(digits[row], (8, 8))
                applies[labels[row]] = 1
        parts.append(Part(_enlarged(np.repeat(images[..., np.newaxis], 3, axis=-1)), truth))
    return Task("composites", [str(digit) for digit in range(10)], *parts, mirrors=False)


def _textures(seed: int) -> Task:
    """Return crops of scikit-image's photographs of brick, grass and gravel, each part from another strip of them."""
    from skimage import data

    rng = np.random.default_rng(seed)
    parts = []
    for count, first, last in ((8, 0, 200), (4, 200, 312), (200, 312, 512)):
        images, targets = [], []
        for index, name in enumerate(_TEXTURES):
            photograph = getattr(data, name)()
            for top, left in zip(rng.integers(0, 512 - 48, count), rng.integers(first, last - 48, count), strict=True):
                images.append(np.repeat(photograph[top : top + 48, left : left + 48, np.newaxis], 3, axis=-1))
                targets.append(index)
        parts.append(Part(_enlarged(np.stack(images)), np.array(targets)))
    return Task("textures-8", list(_TEXTURES), *parts)


TASKS: Mapping[str, Callable[[int], Task]] = {
    "digits-5": functools.partial(_digits, 5),
    "digits-20": functools.partial(_digits, 20),
    "digits-all": functools.partial(_digits, None),
    "fashion-200": functools.partial(_fashion, 200),
    "fashion-2000": functools.partial(_fashion, 2000),
    "fashion-10000": functools.partial(_fashion, 10_000),
    "fashion-tail": lambda seed: _fashion(0, seed, tail=_LONG_TAIL),
    "fashion-wrong": lambda seed: _fashion(2000, seed, wrong=_WRONG),
    "composites": _composites,
    "textures-8": _textures,
}
