"""Labelled images, to train on and to validate with: one door, :func:`load`, for every kind of data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import arguments

if TYPE_CHECKING:
    from .data import Data


BUILTIN = ("digits", "fashion-mnist")
KINDS = ("classes", "labels", "values", "ordinal", "probabilities")  # kinds of targets

__all__ = ["BUILTIN", "KINDS", "load"]


def load(
    what: Any,
    validation: Any = None,
    size: int = 224,
    *,
    whole: bool = False,
    classes: Sequence[str] | None = None,
    channels: int = 3,
    targets: str = "classes",
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    fit: bool = False,
) -> Data:
    """Load labelled images and split them.

    Args:
        what: Folder with a folder per class, or CSV file with the columns path and label; ``"digits"``,
            ``"fashion-mnist"``, ``"tfds:NAME"``, or the names of TFRecord files, which may have wildcards. Or batches
            of images and labels: a ``tf.data.Dataset``, a PyTorch loader, a Keras ``PyDataset``, or any iterable of
            pairs, as :func:`.foreign.load_batches` takes them.
        validation: Fraction of the images to hold out, 0..1, decided by each image's content; or data of the same kind
            as ``what``: another folder or CSV file, or more batches. None takes the set's own validation part, or else
            a fifth.
        size: Side of the square that each image is cropped and resized to, pixels.
        whole: Whether the images of a folder or a CSV file keep their size, for random crops.
        classes: Names of the labels of batches; by default their numbers. Other data has its own names.
        channels: Channels of the images: 3 for RGB, 1 for grey. For others the images have to have as many: arrays of
            NumPy (.npy), TIFF files, or RGBA as 4 channels. Levels of 16 bits are scaled to 8.
        targets: What is to be predicted for each image: ``"classes"``, one of several that exclude each other; or
            ``"labels"``, any number of them, from a folder or a CSV file as :func:`.tags.read_tags` takes it; or, from
            a CSV file, ``"values"``, numbers in columns, or ``"probabilities"``, a column for each class; or
            ``"ordinal"``, classes that have an order: that of ``classes``, the lowest first, or of their numbers.
        columns: Columns of values or probabilities; by default all but path and weight.
        weight: Column of the weight of each image, 0 or more; by default all images count equally.
        fit: Whether small images of a folder, of a CSV file, or of digits get a smaller side than ``size``, as
            :func:`.sizes.fitting_size` says.

    Raises:
        ValueError, TypeError, OSError, ImportError: There is no such data, or it is not as described.

    Example:
        >>> data = load([([[[[0, 0, 0]]], [[[9, 9, 9]]]], [0, 1])] * 4, 0.5, 1, classes=["black", "grey"])
        >>> data.pixels.shape, data.classes
        ((8, 1, 1, 3), ['black', 'grey'])
    """
    from . import builtin, files, foreign, labelled

    arguments.whole("size", size)
    arguments.whole("channels", channels)
    arguments.choice("targets", targets, KINDS)
    if classes is not None:
        classes = arguments.names("classes", classes, "names of classes")
    if columns is not None:
        columns = arguments.names("columns", columns, "names of columns")
    is_named = isinstance(what, (str, os.PathLike))
    name = arguments.path("what", what, "the name of a data set") if is_named else type(what).__name__
    is_apart = isinstance(validation, (str, os.PathLike))
    if isinstance(validation, Real):
        validation = arguments.share("validation", validation)
    elif is_named and validation is not None and not is_apart:
        raise TypeError(f"validation is a {type(validation).__name__}: expected a fraction, 0 to 1, or another path.")
    is_file = is_named and _is_folder_or_table(name)
    if not is_file and (targets != "classes" or weight is not None):
        given = f"weight={weight!r}" if targets == "classes" else f"targets={targets!r}"
        shown = f"{what} has" if is_named else "batches have"
        raise ValueError(f"{given} is for a folder or a CSV file; {shown} classes, and images that count equally.")
    if columns is not None and targets not in ("values", "probabilities"):
        raise ValueError(f"columns={list(columns)!r}: only values and probabilities come from columns of numbers.")
    if not is_named:
        held_out = foreign.HELD_OUT if validation is None else validation
        return foreign.load_batches(name, what, held_out, size, classes, channels=channels)
    if classes is not None and targets != "ordinal":
        raise ValueError(f"classes={list(classes)!r} name the labels of batches; {what} has its own names.")
    if is_file:
        held_out = foreign.HELD_OUT if validation is None else Path(validation) if is_apart else validation
        wanted = labelled.What(targets, columns, weight, classes)
        return files.load_files(Path(name), held_out, None if whole else size, channels, wanted, fit)
    if is_apart:
        raise ValueError(
            f"{name} is validated with its own images, not with those of {validation}: pass a fraction as its "
            "--validation, or leave it out."
        )
    if name == "fashion-mnist":
        return builtin.load_fashion_mnist(validation=validation, channels=channels)
    if name.startswith("tfds:"):
        return foreign.load_tfds(name.removeprefix("tfds:"), validation, size, channels=channels)
    fraction = foreign.HELD_OUT if validation is None else validation
    if name == "digits":
        return builtin.load_digits(fraction, size, channels, fit)
    return foreign.load_tfrecords(name, fraction, size, channels=channels)


def _is_folder_or_table(name: str) -> bool:
    is_tfrecords = name.endswith((".tfrecord", ".tfrecords")) or "tfrecord-" in name
    return not (is_tfrecords or name in BUILTIN or name.startswith("tfds:"))
