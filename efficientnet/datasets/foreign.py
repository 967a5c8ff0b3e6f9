"""Images from other code: batches of any kind, TFRecords, TensorFlow Datasets.

All of them are read once, into a temporary file. From then on they are like images of a folder.
"""

from __future__ import annotations

import dataclasses
import glob
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoints.facts import MOST_CLASSES
from ..common.packages import missing
from ..common.text import notify, plain
from ..errors import UnreadableImageError
from ..images.bands import of_image, with_channels
from ..images.loading import load_image
from ..images.pixel_scaling import EVALUATION_CROP
from ..images.pixels import HIGHEST_FRACTION, fault, is_pillow, scaled
from .data import Data, is_held_out, square
from .targets import Classes

Labelled = tuple[NDArray[np.uint8], int]
HELD_OUT = 0.2  # fraction of the images, by default


def load_batches(
    name: str,
    training: Any,
    validation: Any,
    size: int,
    classes: Sequence[str] | None = None,
    crop: float = 1.0,
    channels: int = 3,
) -> Data:
    """Read images and labels from a ``tf.data.Dataset``, a PyTorch loader, a Keras ``PyDataset``, or any iterable.

    Args:
        name: Name of the set.
        training: Finite source of batches, or of single images, as (pixels, labels), or as a dictionary with "image"
            and "label". Pixels are (height, width, 3), or (3, height, width) as PyTorch has them, or with 1 channel of
            grey or 4 with opacity; levels 0..255, in uint16 0..65535, or 0..1 where they are floats and none in all of
            ``training``, or of ``validation``, is above 1. Labels are integers, or one-hot.
        validation: Source like ``training``; or the fraction of it to hold out, decided by each image's pixels.
        size: Side of the square that each image is cropped and resized to, pixels.
        classes: Names of the labels; by default their numbers.
        crop: Part of an image's shorter side that is kept, 0..1; all by default, as such images are usually cropped.
        channels: Channels of the data: 3 for RGB, 1 for grey; for others, pixels have as many.

    Raises:
        ValueError: A source is empty, or does not consist of images and labels.
    """
    is_fraction = isinstance(validation, (int, float))
    labels, validates = [], []
    sides = [(_Levels(name, channels), source) for source in ([training] if is_fraction else [training, validation])]
    with tempfile.TemporaryFile() as file:
        for side, (levels, source) in enumerate(sides):
            for pixels, label in _images(name, source, levels):
                validates.append(side == 1 or (is_fraction and is_held_out(pixels.tobytes(), validation)))
                labels.append(label)
                file.write(square(pixels, size, crop).tobytes())
        if not labels:
            raise ValueError(f"{name} has no images: expected batches of pixels and labels.")
        most = MOST_CLASSES if classes is None else len(classes)
        if min(labels) < 0 or max(labels) >= most:
            named = "" if classes is None else f", since there are {most} class names"
            raise ValueError(f"{name} has labels {min(labels)} to {max(labels)}: expected 0 to {most - 1}{named}.")
        names = list(classes) if classes is not None else [str(index) for index in range(max(labels) + 1)]
        file.flush()
        array = np.memmap(file, np.uint8, "r+", shape=(len(labels), size, size, channels))  # with a second handle
    start = 0
    for levels, _ in sides:
        levels.settle(array[start : start + len(levels.may_be_fractions)])
        start += len(levels.may_be_fractions)
    held_out = np.array(validates)
    targets = Classes(names, np.array(labels))
    return Data(name, array, targets, np.flatnonzero(~held_out), np.flatnonzero(held_out), crop)


def load_tfrecords(
    pattern: str, validation: float, size: int, crop: float = EVALUATION_CROP, channels: int = 3
) -> Data:
    """Read TFRecord files of ``tf.train.Example`` with "image/encoded" and "image/class/label".

    Those are the names in the authors' code. "image/class/text", if present, names the classes. Images that cannot be
    read are reported on stderr and left out.

    Raises:
        ImportError: TensorFlow, which reads such files, is missing.
        FileNotFoundError: No file matches the pattern.
        ValueError: A file has other content.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise missing("TFRecord files are read by TensorFlow", "tensorflow") from error
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"No file matches {pattern}: expected TFRecord files.")
    names: dict[int, str] = {}

    def examples() -> Iterator[Labelled]:
        for index, record in enumerate(tf.data.TFRecordDataset(paths).as_numpy_iterator()):
            try:
                features = tf.train.Example.FromString(record).features.feature
            except Exception as error:  # google.protobuf's
                raise ValueError(f"record {index} of {pattern} is not a tf.train.Example: {error}.") from None
            if not {"image/encoded", "image/class/label"} <= set(features):
                raise ValueError(
                    f"{pattern} holds {', '.join(sorted(features)) or 'nothing'}: expected image/encoded and "
                    "image/class/label."
                )
            contents = features["image/encoded"].bytes_list.value
            labels = features["image/class/label"].int64_list.value
            if len(contents) != 1 or len(labels) != 1:
                raise ValueError(
                    f"record {index} of {pattern}: {len(contents)} image/encoded, {len(labels)} image/class/label; "
                    "expected the content of one image, and one integer."
                )
            label = int(labels[0])
            if text := features["image/class/text"].bytes_list.value:
                names[label] = text[0].decode(errors="replace")
            try:
                yield load_image(contents[0], channels=channels), label
            except UnreadableImageError as error:
                notify(f"skipped image {index} of {plain(pattern)}: {error}")

    try:
        data = load_batches(pattern, examples(), validation, size, crop=crop, channels=channels)
    except tf.errors.OpError as error:
        raise ValueError(f"{pattern} cannot be read as TFRecord files: {error.message}") from None
    return _without_gaps(data, names)


def load_tfds(name: str, validation: float | None, size: int, channels: int = 3) -> Data:
    """Read a set of TensorFlow Datasets that has images and labels, its split "train".

    The fraction ``validation`` of the images is held out. If it is None, a split "validation" or "test" serves to
    validate; without one, a fifth is held out.

    Raises:
        ImportError: tensorflow_datasets is missing.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(f"tfds:{name} needs TensorFlow Datasets: pip install tensorflow-datasets.") from error
    builder = tfds.builder(name)
    builder.download_and_prepare()
    splits = ("validation", "test") if validation is None else ()
    found = [split for split in splits if split in builder.info.splits]
    sides = [
        tfds.as_numpy(builder.as_dataset(split=split, as_supervised=True, shuffle_files=False))
        for split in ("train", *found[:1])
    ]
    classes = builder.info.features["label"].names
    held_out = HELD_OUT if validation is None else validation
    return load_batches(name, sides[0], sides[1] if found else held_out, size, classes, EVALUATION_CROP, channels)


def _without_gaps(data: Data, names: dict[int, str]) -> Data:
    """Return the data without labels that no image has, such as the 0 where a set counts from 1.

    Of a name that several labels have, as ImageNet's cranes, the label is a part.
    """
    used, labels = np.unique(data.targets.values, return_inverse=True)
    counts = Counter(names.values())
    classes = [
        f"{names[label]} ({label})" if counts[names.get(label, "")] > 1 else names.get(label, str(label))
        for label in used.tolist()
    ]
    return dataclasses.replace(data, targets=Classes(classes, labels))


@dataclass
class _Levels:
    """The level of white in a source. All of its images decide it together: some of them may be dark.

    Attributes:
        name: Name of the set.
        channels: Channels of the converted images.
        may_be_fractions: Flag of each image, whether it was taken to be in 0..1 so far.
        highest: Highest level of each number type.
    """

    name: str
    channels: int = 3
    may_be_fractions: list[bool] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)

    def convert(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert pixels of other code to (batch, height, width, channels) uint8."""
        last, first = ((1, 3, 4), (1, 3)) if self.channels in (1, 3) else ((self.channels,), (self.channels,))
        if batch.ndim == 4 and batch.shape[-1] not in last and batch.shape[1] in first:
            batch = batch.transpose(0, 2, 3, 1)
        if batch.ndim != 4 or batch.shape[-1] not in last:
            raise ValueError(
                f"{self.name} gives pixels of shape {batch.shape}: expected (batch, height, width, {self.channels})."
            )
        if not batch.size:
            return np.zeros((*batch.shape[:3], self.channels), np.uint8)
        if problem := fault(batch, decides=False):
            raise ValueError(f"{self.name}: {problem}")
        kind, highest = batch.dtype.kind + str(batch.dtype.itemsize), float(batch.max())
        self.highest[kind] = max(self.highest.get(kind, 0.0), highest)
        are_fractions = batch.dtype.kind == "f" and highest <= HIGHEST_FRACTION
        self.may_be_fractions += [are_fractions] * len(batch)
        levels = np.clip(np.rint(scaled(batch) * (255.0 if are_fractions else 1)), 0, 255).astype(np.uint8)
        if levels.shape[-1] == self.channels:
            return levels
        return np.stack([with_channels(image, self.channels) for image in levels])

    def settle(self, pixels: NDArray[np.uint8]) -> None:
        """Correct converted pixels in place, once the whole source has been seen.

        Raises:
            ValueError: Nothing shows the level of white.
        """
        if 0 < self.highest.get("u2", 0) <= 255:
            raise ValueError(
                f"{self.name} has uint16 levels up to {self.highest['u2']:g}, where white is 65535: if it is 255, pass "
                "uint8."
            )
        if any(highest > HIGHEST_FRACTION for kind, highest in self.highest.items() if kind[0] == "f"):
            for row in np.flatnonzero(self.may_be_fractions):
                pixels[row] = np.rint(pixels[row] / 255)


def _images(name: str, source: Any, levels: _Levels) -> Iterator[Labelled]:
    """Yield single images, (height, width, channels) uint8, and their labels, from batches or single ones."""
    has_more = False
    for item in _items(name, source):
        if isinstance(item, dict) and {"image", "label"} <= item.keys():
            pixels, labels = item["image"], item["label"]
        elif isinstance(item, (tuple, list)) and len(item) > 1:
            if len(item) > 2 and not has_more:
                has_more = True
                notify(f"{plain(name)} gives more than pixels and labels, such as weights: left out")
            pixels, labels = item[:2]
        else:
            raise ValueError(
                f"{name} gives {type(item).__name__}: expected (pixels, labels), or a dictionary with image and label. "
                "A single batch goes into a list, [(pixels, labels)]."
            )
        batch = of_image(pixels, levels.channels) if is_pillow(pixels) else np.asarray(pixels)
        if batch.ndim == 3:
            batch, labels = batch[np.newaxis], np.asarray(labels)[np.newaxis]
        images, indices = levels.convert(batch), _indices(name, np.asarray(labels))
        if len(images) != len(indices):
            raise ValueError(f"{name} gives {len(images)} images with {len(indices)} labels: expected one for each.")
        yield from zip(images, indices, strict=True)


def _items(name: str, source: Any) -> Iterator[Any]:
    """Return what a source gives, batches or single images, which have to end.

    Raises:
        ValueError: They do not end.
        TypeError: The source is not an iterable.
    """
    cardinality = getattr(source, "cardinality", None)  # a tf.data.Dataset has -1 if it has no end
    if (callable(cardinality) and int(cardinality()) == -1) or getattr(source, "num_batches", 0) is None:
        raise ValueError(f"{name} has no end: leave out repeat(), or take(…) as many batches as one pass has.")
    # PyTorch's data sets, and what Keras trains on by index, may go on beyond their length.
    if hasattr(source, "__len__") and (hasattr(source, "on_epoch_end") or not hasattr(source, "__iter__")):
        return (source[index] for index in range(len(source)))
    if not (hasattr(source, "__iter__") or hasattr(source, "__getitem__")):
        raise TypeError(f"Expected images and labels, or the name of a data set; got {name}.")
    return iter(source)


def _indices(name: str, labels: NDArray[Any]) -> list[int]:
    """Return class indices of labels that are indices or one-hot.

    Raises:
        ValueError: There are several labels to an image, or they are numbers to predict.
    """
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=-1) == 1).all()):
            raise ValueError(
                f"{name} gives targets of shape {labels.shape} that are not one-hot: expected one class per image, as "
                "an integer or as one 1 among zeros. Several labels per image, probabilities and numbers come from a "
                'CSV file (targets="labels", "probabilities" or "values").'
            )
        return [int(label) for label in labels.argmax(axis=-1).reshape(-1)]
    flat = labels.reshape(-1)
    if flat.dtype.kind not in "biuf" or not np.array_equal(flat, np.trunc(flat)):
        shown = ", ".join(map(str, flat[:3]))
        raise ValueError(
            f"{name} gives labels such as {shown}: expected each image's class as an integer from 0, or one-hot. Names "
            "have to be numbered, with classes= for their names; numbers to predict are not classes."
        )
    return [int(label) for label in flat]
