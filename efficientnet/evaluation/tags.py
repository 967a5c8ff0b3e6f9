"""Images with any number of labels each, matched with the labels of a model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.text import some
from ..datasets.samples import checked_classes, match_classes
from ..datasets.tags import read_tags, split_labels


@dataclass(frozen=True)
class Tagged:
    """Images and the labels that apply to each.

    Attributes:
        paths: Paths of the images, each once.
        truth: (images, labels of the model), whether the label applies.
        known: (labels of the model,), whether the data says of each image whether the label applies.
        notes: Sentences on what was left out, and why.
        is_complete: Whether the model has all of the labels.

    Example:
        >>> tagged = find_tagged("flowers", [("0", "rose"), ("1", "tulip"), ("2", "daisy")])
        >>> tagged.truth.sum(axis=0).tolist()
        [4, 4, 4]
    """

    paths: Sequence[Path]
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    notes: Sequence[str]
    is_complete: bool


def find_tagged(data: str | os.PathLike[str], classes: Sequence[tuple[str, str]]) -> Tagged:
    """Find images and their labels.

    Args:
        data: CSV file with the column ``path``, relative to the file, and ``label``, which holds all labels of an
            image with "|", ";" or "," between them (in a name, a backslash precedes them), or one of them if the image
            has several rows; or with ``path`` and a column for each label, 1 or 0. Or a folder with a folder of images
            per label; an image whose file is in several of them counts once, with all of these labels.
        classes: Id and name of each label of the model.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: The data holds no image with a label of the model, or a table is not as described.

    Example:
        >>> tagged = find_tagged("flowers", [("0", "rose"), ("1", "tulip"), ("2", "daisy")])
        >>> tagged.truth.shape
        (12, 3)
    """
    data = Path(arguments.path("data", data, "a folder or a CSV file"))
    classes = checked_classes(classes)
    tags = read_tags(data, lambda texts: _single(texts, classes))
    notes = tags.notes
    matched, unmatched = match_classes(tags.names, classes)
    if not matched:
        raise ValueError(
            f"None of the labels in {data} is one of the model's: the data has "
            f"{some(tags.names) or 'nothing'}, the model's {some([name for _, name in classes])}."
        )
    truth = np.zeros((len(tags.labels), len(classes)), bool)
    for row, found in enumerate(tags.labels.values()):
        truth[row, [matched[name] for name in found if name in matched]] = True
    known = np.ones(len(classes), bool)
    if tags.columns is not None:
        known[:] = False
        known[list(matched.values())] = True
        if not known.all():
            lacking = ", ".join(name for (_, name), is_known in zip(classes, known, strict=True) if not is_known)
            notes.append(f"{data} has no column of {lacking}: these labels are not measured.")
    notes += [f"{note} It is left out." for note in unmatched]
    return Tagged(list(tags.labels), truth, known, notes, not unmatched)


def _single(texts: Iterable[str], classes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the texts that are one label: a name with a comma, or what matches a label while its parts match none.

    "|" separates labels wherever its parts match some: it has a backslash before it in a name.
    """
    names = {name for _, name in classes if "|" not in name}
    parts = {text: split_labels(text) for text in match_classes(texts, classes)[0]}
    known, _ = match_classes(itertools.chain(*parts.values()), classes)
    return [text for text, found in parts.items() if text in names or not known.keys() >= set(found)]
