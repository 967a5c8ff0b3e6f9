"""Data sets that come with packages: scikit-learn's digits and Debian's Fashion-MNIST."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images.resizing import center_crop_and_resize
from .data import Data, is_held_out
from .sizes import fitting_size
from .targets import Classes

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # the folder of Debian's package
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_digits(validation: float, size: int, channels: int = 3, fit: bool = False) -> Data:
    """Load scikit-learn's 1797 handwritten digits of 8 x 8 pixels, enlarged to ``size``, or less with ``fit``.

    Raises:
        ImportError: The package scikit-learn is missing.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("The digits come with scikit-learn: pip install scikit-learn") from error
    digits = datasets.load_digits()
    side = min(digits.images.shape[1:])
    size = fitting_size(side, size) if fit else size
    levels = digits.images * (255 / 16)
    grey = [center_crop_and_resize(image, size, crop_padding=0, interpolation="bilinear") for image in levels]
    validates = np.array([is_held_out(image.tobytes(), validation) for image in digits.images])
    classes = [str(name) for name in digits.target_names]
    pixels = _with_channels(np.rint(grey), channels)
    return Data(
        "digits", pixels, Classes(classes, digits.target), np.flatnonzero(~validates), np.flatnonzero(validates),
        crop=1.0, side=side,
    )  # fmt: skip


def load_fashion_mnist(
    folder: str | os.PathLike[str] | None = None, validation: float | None = None, channels: int = 3
) -> Data:
    """Read Fashion-MNIST (arXiv 1708.07747): 60,000 images to train on and 10,000 to test, 28 x 28 grey pixels.

    Args:
        folder: Folder of the four ``*-ubyte.gz`` files; ``$FASHION_MNIST`` or that of Debian's package by default.
        validation: Fraction of the 60,000 to hold out, decided by each image's pixels; the other 10,000 are then not
            used. None validates with the 10,000.
        channels: 3 for RGB, 1 for grey.

    Raises:
        FileNotFoundError: The files are missing; the message says how to get them.
        ValueError: The files have other content.
    """
    place = Path(folder or os.environ.get("FASHION_MNIST") or FASHION_MNIST_FOLDER)
    arrays = [_read_idx(place / f"{part}-ubyte.gz") for part in (
        "train-images-idx3", "t10k-images-idx3", "train-labels-idx1", "t10k-labels-idx1",
    )]  # fmt: skip
    images, labels = np.concatenate(arrays[:2]), np.concatenate(arrays[2:])
    rows, count = np.arange(len(images)), len(arrays[0])
    training, held_out = rows[:count], rows[count:]
    if validation is not None:
        validates = np.array([is_held_out(image.tobytes(), validation) for image in arrays[0]])
        training, held_out = np.flatnonzero(~validates), np.flatnonzero(validates)
    pixels = _with_channels(images, channels)
    targets = Classes(list(FASHION_MNIST_CLASSES), labels)
    return Data("Fashion-MNIST", pixels, targets, training, held_out, crop=1.0, side=min(images.shape[1:]))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, type 8, the number of axes, their lengths as big-endian uint32."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no {path}. On Debian and Ubuntu `apt-get install dataset-fashion-mnist` brings it; elsewhere "
            "download the four files of github.com/zalandoresearch/fashion-mnist and set FASHION_MNIST to their folder."
        ) from None
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}): get it again.") from None
    start = 4 + 4 * content[3] if len(content) > 3 else 4
    shape = np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4")
    if content[:3] != b"\0\0\x08" or len(content) != start + np.prod(shape, dtype=np.float64):
        raise ValueError(f"{path} is not an IDX file of bytes, as MNIST's are: get it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _with_channels(grey: NDArray[Any], channels: int) -> NDArray[np.uint8]:
    if channels not in (1, 3):
        raise ValueError(f"{channels} channels: these images are grey, of which 1 or 3 channels can be made.")
    return np.repeat(grey.astype(np.uint8)[..., np.newaxis], channels, axis=-1)
