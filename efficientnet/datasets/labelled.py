"""The files of a folder or a table, and their targets, of any kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common.text import some
from .numbers import read_numbers, read_weights
from .samples import find_samples
from .tags import read_tags
from .targets import Classes, Labels, Ordinal, Targets, Values

_SUM_TOLERANCE = 0.01  # probabilities may have been written with few digits


@dataclass(frozen=True)
class What:
    """What is to be read as the targets of images.

    Attributes:
        kind: Kind of the targets: ``"classes"``, ``"labels"``, ``"values"``, ``"ordinal"``, or ``"probabilities"``,
            which are classes, too.
        columns: Columns of a table that hold values or probabilities; all but path and weight by default.
        weight: Column of a table that holds the weight of each image; None if all count equally.
        order: Names of ordinal classes, the lowest first; by default they are numbers and have their order.
    """

    kind: str = "classes"
    columns: Sequence[str] | None = None
    weight: str | None = None
    order: Sequence[str] | None = None


class Labelled(NamedTuple):
    """Images and their targets.

    Attributes:
        paths: Files of the images.
        targets: Their targets.
        notes: Sentences on what was left out, and why.
        says_each: Whether the data says of each label of an image whether it applies, so that one that it does not
            name is unknown; other data names what applies.
    """

    paths: Sequence[Path]
    targets: Targets
    notes: Sequence[str]
    says_each: bool = False


def find_targets(data: Path, what: What) -> Labelled:
    """Find images and their targets; none is decoded.

    Args:
        data: Folder of class folders, or a CSV file: for classes as ``samples.find_samples`` takes it, for labels as
            ``tags.read_tags``, for values and probabilities as ``numbers.read_numbers``.
        what: What to read.

    Raises:
        FileNotFoundError, ValueError: The data is not as described.
    """
    found = _FINDERS[what.kind](data, what)
    if what.weight is None:
        return found
    if not data.is_file():
        raise ValueError(f"{data} is a folder: the weights of images come from a column of a CSV file.")
    weights = read_weights(data, what.weight, found.paths)
    return found._replace(targets=dataclasses.replace(found.targets, weights=weights))


def _find_classes(data: Path, what: What) -> Labelled:
    samples = find_samples(data)
    names = sorted({sample.label for sample in samples.found})
    places = {name: index for index, name in enumerate(names)}
    indices = np.array([places[sample.label] for sample in samples.found])
    notes = list(samples.notes)
    if data.is_file() and (several := [name for name in names if "|" in name]):
        notes.append(
            f"{data}: the label {several[0]} counts as one class; the targets 'labels' (--targets labels) are several "
            "labels of an image."
        )
    return Labelled([sample.path for sample in samples.found], Classes(names, indices), notes)


def _find_ordinal(data: Path, what: What) -> Labelled:
    found = _find_classes(data, what)
    targets = found.targets
    order = what.order or _by_number(targets.names)
    if order is None:
        raise ValueError(
            f"{data}: the order of the classes {some(targets.names)} is not known: give their names, the "
            "lowest first, as --classes FILE."
        )
    if unknown := sorted(set(targets.names) - set(order)):
        raise ValueError(f"{data} has classes without a place in the order: {', '.join(unknown)}. Name all of them.")
    ordered = targets.reordered(order)
    return found._replace(targets=Ordinal(ordered.names, ordered.values))


def _by_number(names: Sequence[str]) -> list[str] | None:
    """Return names that are finite numbers, no two the same, in the order of these; None for others."""
    try:
        numbers = {float(name): name for name in names}
    except ValueError:
        return None
    if len(numbers) < len(names) or not all(map(math.isfinite, numbers)):
        return None
    return [numbers[number] for number in sorted(numbers)]


def _find_labels(data: Path, what: What) -> Labelled:
    tags = read_tags(data, weight=what.weight)
    names = tags.names
    truth = np.array([[name in found for name in names] for found in tags.labels.values()], bool)
    labels = Labels(names, truth.reshape(len(tags.labels), len(names)))
    return Labelled(list(tags.labels), labels, tags.notes, says_each=tags.columns is not None)


def _find_values(data: Path, what: What) -> Labelled:
    found = read_numbers(data, what.columns, what.weight)
    return Labelled(found.paths, Values(found.names, found.values), found.notes)


def _find_probabilities(data: Path, what: What) -> Labelled:
    found = read_numbers(data, what.columns, what.weight)
    sums = found.values.sum(axis=1)
    wrong = (found.values < 0).any(axis=1) | (np.abs(sums - 1) > _SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{data}: the probabilities {some(found.names)} of {found.paths[row]} are "
            f"{', '.join(f'{value:g}' for value in found.values[row, :10])}, {sums[row]:g} in sum: expected numbers of "
            "0 or more whose sum is 1. Name their columns with --columns if there are others."
        )
    return Labelled(found.paths, Classes(found.names, found.values / sums[:, None]), found.notes)


_FINDERS: Mapping[str, Callable[[Path, What], Labelled]] = {
    "classes": _find_classes,
    "labels": _find_labels,
    "values": _find_values,
    "ordinal": _find_ordinal,
    "probabilities": _find_probabilities,
}
