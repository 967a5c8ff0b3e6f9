"""Labelled images to train on and to validate with: from folders, tables, or sets that come with packages."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..common.text import lines, plain, tell
from ..images.loading import load_image
from ..images.pixel_scaling import EVALUATION_CROP
from ..images.resizing import center_crop_and_resize
from .samples import find_samples, parent_hint
from .splits import Entry

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package has it
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Labelled images, split for training and validation.

    Attributes:
        name: Name of the data set.
        pixels: (images, height, width, 3) uint8, RGB levels 0..255; or :class:`Files`, which are read anew each time
            and whose sizes differ.
        labels: (images,), each image's index into ``classes``.
        classes: Names of the classes.
        training: Indices of the training images; an image that cannot be read is in neither part.
        validation: Indices of the validation images.
        crop: Part of an image's shorter side that evaluation keeps, 0..1.
        entries: File of each image; empty for images from elsewhere.
    """

    name: str
    pixels: Any
    labels: NDArray[np.integer[Any]]
    classes: list[str]
    training: NDArray[np.integer[Any]]
    validation: NDArray[np.integer[Any]]
    crop: float = EVALUATION_CROP
    entries: Sequence[Entry] = ()

    def with_classes(self, names: Sequence[str]) -> Data:
        """Return the same images with their classes in this order.

        Raises:
            ValueError: These are not the names of the classes, each once.
        """
        if sorted(names) != sorted(self.classes):
            wrong = [f"no images of {name!r}" for name in names if name not in self.classes]
            wrong += [f"no name for {name!r}" for name in self.classes if name not in names]
            raise ValueError(
                f"{self.name} has {len(self.classes)} classes, and {len(names)} names are given for them: "
                + (", ".join(wrong[:10]) or "one of these comes twice")
                + ". Give each class its name once (--classes)."
            )
        places = np.array([list(names).index(name) for name in self.classes])
        return dataclasses.replace(self, labels=places[self.labels], classes=list(names))

    def resized(self, size: int) -> Data:
        """Return the same images at ``size`` x ``size`` pixels; :class:`Files` stay unchanged."""
        if isinstance(self.pixels, Files) or self.pixels.shape[1:3] == (size, size):
            return self
        pixels = temporary_array((len(self.pixels), size, size, 3))

        def resize(index: int) -> None:
            pixels[index] = square(self.pixels[index], size, 1.0)

        with ThreadPoolExecutor() as threads:
            for _ in threads.map(resize, range(len(pixels))):
                pass
        return dataclasses.replace(self, pixels=pixels)

    def subset(self, training: int | None, validation: int | None, seed: int) -> Data:
        """Draw so many images of each part at random; None, or more than there are, keeps all."""
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
            self, pixels=self.pixels[kept], labels=self.labels[kept],
            training=new[: len(rows[0])], validation=new[len(rows[0]) :],
            entries=[self.entries[row] for row in kept] if self.entries else (),
        )  # fmt: skip

    def fingerprint(self) -> str:
        """Return a hash that identifies this data and its split, from labels, split and files, not from pixels."""
        rows = np.concatenate([self.labels, self.training, self.validation]).astype(np.int64)
        files = "".join(entry.sha256 for entry in self.entries)
        return hashlib.sha256(rows.tobytes() + files.encode()).hexdigest()

    def check(self) -> None:
        """Check that there are classes to distinguish, and images to train on and to validate with.

        Raises:
            ValueError: There are fewer than 2 classes, a class has no training images, or there is nothing to validate.
        """
        if len(self.classes) < 2:
            raise ValueError(f"{self.name} has {len(self.classes)} class: expected at least 2 to distinguish.")
        training, validation = (
            np.bincount(self.labels[rows], minlength=len(self.classes)) for rows in (self.training, self.validation)
        )
        if lacking := [name for name, count in zip(self.classes, training, strict=True) if not count]:
            raise ValueError(
                f"No readable images to train on in {', '.join(lacking)}: add some, or lower --validation."
            )
        if not len(self.validation):
            raise ValueError("No image fell to validation: raise --validation, or pass a folder with it.")
        if lacking := [name for name, count in zip(self.classes, validation, strict=True) if not count]:
            tell(f"no images to validate in {plain(', '.join(lacking))}: the accuracy leaves them out")


def batches(
    inputs: NDArray[Any], targets: NDArray[Any], rows: NDArray[Any], batch_size: int, augment: Any = None
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield one pass over some rows of inputs, as float32, and targets."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        x = np.asarray(inputs[batch], np.float32)
        yield x if augment is None else augment(x), targets[batch]


class Files(Sequence[NDArray[np.uint8]]):
    """Image files, each decoded when it is requested: (height, width, 3) uint8, of any sizes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        """Return an image, or, for several indices, their files."""
        if np.ndim(index):
            return Files([self.paths[each] for each in index])
        return load_image(self.paths[index])


class Item(NamedTuple):
    """A file of a known class; ``side`` is "train", "validation", or None if its content decides."""

    path: Path
    label: str
    side: str | None = None


def load_files(data: Path, validation: float | Path, size: int | None) -> Data:
    """Read a folder of class folders, or the files that a table names; what is left out is reported on stderr.

    The pixels lie in a nameless temporary file, not in memory (``TMPDIR`` is its folder).

    Args:
        data: Folder or CSV file, as ``samples.find_samples`` takes it.
        validation: Fraction of the files to hold out, decided by each file's content; or a folder or CSV file like
            ``data`` with no further classes.
        size: Side of the square that each image is cropped and resized to, pixels. None leaves the images whole in
            their files, which have to stay.

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
    return load_items(name, items, classes, validation, size)


def _items(data: Path, side: str | None) -> list[Item]:
    """List the files of a folder or a table; what is left out is reported."""
    samples = find_samples(data)
    for note in samples.notes:
        tell(plain(note))
    return [Item(sample.path, sample.label, side) for sample in samples.found]


def load_items(name: str, items: Sequence[Item], classes: list[str], fraction: float, size: int | None) -> Data:
    """Read files of known classes; see :func:`load_files`."""
    whole = Files([item.path for item in items])
    pixels: Any = whole if size is None else temporary_array((len(items), size, size, 3))
    digests: list[bytes] = [b""] * len(items)

    def load(index: int) -> int:
        """Fill in an image's pixels; return 0 to train on it, 1 to validate, -1 if it cannot be read."""
        item = items[index]
        try:
            content = item.path.read_bytes()
            pixels_of_file = load_image(content)
        except (OSError, ValueError) as error:
            tqdm.write(f"efficientnet: skipped {plain(item.path)}: {lines(error)}", file=sys.stderr)
            return -1
        if size is not None:
            pixels[index] = square(pixels_of_file, size, EVALUATION_CROP)
        digests[index] = hashlib.sha256(content).digest()
        return int(item.side == "validation" or (item.side is None and _falls_below(digests[index], fraction)))

    with ThreadPoolExecutor() as threads:
        loaded = threads.map(load, range(len(items)))
        use = np.array(list(tqdm(loaded, total=len(items), unit="image", leave=False, disable=None)), int)
    _tell_contradictions(items, digests)
    _tell_overlap(digests, use)
    labels = np.array([classes.index(item.label) for item in items])
    entries = [Entry(item.path, item.label, digest.hex()) for item, digest in zip(items, digests, strict=True)]
    return Data(
        name, pixels, labels, classes, np.flatnonzero(use == 0), np.flatnonzero(use == 1), entries=entries
    )  # fmt: skip


def _tell_contradictions(items: Sequence[Item], digests: Sequence[bytes]) -> None:
    """Report files with the same content but different classes."""
    first: dict[bytes, Item] = {}
    for item, digest in zip(items, digests, strict=True):
        other = first.setdefault(digest, item)
        if digest and other.label != item.label:
            both = ", ".join(f"{plain(found.path)} {plain(found.label)}" for found in (other, item))
            tell(f"the same image has two labels: {both}")


def _tell_overlap(digests: Sequence[bytes], use: NDArray[np.integer[Any]]) -> None:
    """Report the number of images, by content, that are in both parts."""
    trained = {digest for digest, part in zip(digests, use, strict=True) if part == 0}
    held_out = [digest in trained for digest, part in zip(digests, use, strict=True) if part == 1]
    if any(held_out):
        tell(
            f"{sum(held_out)} of the {len(held_out)} images to validate with are trained on, too, so the accuracy is "
            "higher than on others: take them out of one of the parts"
        )


def square(pixels: NDArray[np.uint8], size: int, crop: float) -> NDArray[np.uint8]:
    """Cut the central square, ``crop`` of the shorter side, and resize it."""
    if pixels.shape[:2] == (size, size) and crop == 1:
        return pixels
    resized = center_crop_and_resize(pixels, size, crop_padding=size / crop - size)
    levels: NDArray[np.uint8] = np.rint(resized).astype(np.uint8)
    return levels


def temporary_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Create an array of bytes in a nameless temporary file, not in memory (``TMPDIR`` is its folder)."""
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)


def is_held_out(content: bytes, fraction: float) -> bool:
    """Return whether a file is held out. Its content decides: new files move no other, and copies stay together."""
    return _falls_below(hashlib.sha256(content).digest(), fraction)


def _falls_below(digest: bytes, fraction: float) -> bool:
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def load_digits(validation: float, size: int) -> Data:
    """Load scikit-learn's 1797 handwritten digits of 8 x 8 pixels, enlarged to ``size``.

    Raises:
        ImportError: The package scikit-learn is missing.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("The digits come with scikit-learn: pip install scikit-learn") from error
    digits = datasets.load_digits()
    levels = digits.images * (255 / 16)
    grey = [center_crop_and_resize(image, size, crop_padding=0, interpolation="bilinear") for image in levels]
    validates = np.array([is_held_out(image.tobytes(), validation) for image in digits.images])
    classes = [str(name) for name in digits.target_names]
    return Data(
        "digits", _as_rgb(np.rint(grey)), digits.target, classes, np.flatnonzero(~validates), np.flatnonzero(validates),
        crop=1.0,
    )  # fmt: skip


def load_fashion_mnist(folder: str | os.PathLike[str] | None = None, validation: float | None = None) -> Data:
    """Read Fashion-MNIST (arXiv 1708.07747): 60,000 images to train on and 10,000 to test, 28 x 28 grey pixels.

    Args:
        folder: Folder of the four ``*-ubyte.gz`` files; ``$FASHION_MNIST`` or that of Debian's package by default.
        validation: Fraction of the 60,000 to hold out, decided by each image's pixels; the other 10,000 are then not
            used. None validates with the 10,000.

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
    return Data("Fashion-MNIST", _as_rgb(images), labels, list(FASHION_MNIST_CLASSES), training, held_out, crop=1.0)


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
        raise ValueError(f"{path} is no IDX file of bytes, as MNIST's are: get it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _as_rgb(grey: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(grey.astype(np.uint8)[..., np.newaxis], 3, axis=-1)
