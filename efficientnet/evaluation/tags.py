"""Images with any number of labels each: from a table, or from folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..datasets.samples import checked_classes, find_samples, match_classes, read_table

# What a column of a label may say of an image.
_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"", "0", "0.0", "-1", "false", "no"})
_SEPARATORS = re.compile(r"[|;,]")


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
    """Find images and their labels; none is opened.

    Args:
        data: CSV file with the column ``path``, relative to the file, and ``label``, which holds all labels of an
            image with "|", ";" or "," between them, or one of them if the image has several rows; or with
            ``path`` and a column for each label, 1 or 0. Or a folder with a folder of images per label.
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
    if not data.is_file():
        samples = find_samples(data)
        labels: dict[Path, set[str]] = {}
        for sample in samples.found:
            labels.setdefault(sample.path, set()).add(sample.label)
        return _tagged(data, labels, classes, list(samples.notes))
    columns, rows = read_table(data)
    label = next((name for name in ("label", "labels") if name in columns), None)
    if "path" not in columns or len(columns) < 2:
        raise ValueError(
            f"{data} has the columns {', '.join(columns) or 'none'}: expected path and label, or path and a column for "
            "each label, in its first line."
        )
    notes = [f"{data}, line {line}: the path is missing: left out." for line, row in rows if not row["path"].strip()]
    rows = [(line, row) for line, row in rows if row["path"].strip()]
    labels = {data.parent / row["path"].strip(): set() for _, row in rows}
    if label is not None:
        whole = match_classes((row[label].strip() for _, row in rows if row[label].strip()), classes)[0]
        for _, row in rows:
            text = row[label].strip()  # a name may have a comma in it
            found = [text] if text in whole else [part.strip() for part in _SEPARATORS.split(text)]
            labels[data.parent / row["path"].strip()].update(filter(None, found))
        if bare := sum(not found for found in labels.values()):
            notes.append(f"{data}: {bare} images have no label: measured as images that none applies to.")
        return _tagged(data, labels, classes, notes)
    tags = [name for name in columns if name != "path"]
    open_values = 0
    for line, row in rows:
        for tag in tags:
            value = row[tag].strip().lower()
            if value not in _YES | _NO:
                raise ValueError(
                    f"{data}, line {line}: {tag} is {row[tag]!r}, expected 1 where the label applies, or 0."
                )
            open_values += value in ("", "-1")
            if value in _YES:
                labels[data.parent / row["path"].strip()].add(tag)
    if open_values:
        notes.append(f"{data}: {open_values} values of labels are empty or -1: taken for 0, which does not apply.")
    return _tagged(data, labels, classes, notes, tags)


def _tagged(
    data: Path,
    labels: dict[Path, set[str]],
    classes: Sequence[tuple[str, str]],
    notes: list[str],
    tags: Sequence[str] | None = None,
) -> Tagged:
    """The truth in the order of the model's labels; ``tags`` are those that the data says of each image."""
    named = sorted(set().union(*labels.values())) if tags is None else tags
    matched, unmatched = match_classes(named, classes)
    if not matched:
        raise ValueError(
            f"None of the labels in {data} is one of the model's: the data has {', '.join(named[:10]) or 'nothing'}, "
            f"the model's {', '.join(name for _, name in classes[:10])}."
        )
    truth = np.zeros((len(labels), len(classes)), bool)
    for row, found in enumerate(labels.values()):
        truth[row, [matched[name] for name in found if name in matched]] = True
    known = np.ones(len(classes), bool)
    if tags is not None:
        known[:] = False
        known[list(matched.values())] = True
        if not known.all():
            lacking = ", ".join(name for (_, name), is_known in zip(classes, known, strict=True) if not is_known)
            notes.append(f"{data} has no column of {lacking}: these labels are not measured.")
    notes += [f"{note} It is left out." for note in unmatched]
    return Tagged(list(labels), truth, known, notes, not unmatched)
