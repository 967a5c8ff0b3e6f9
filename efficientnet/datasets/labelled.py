"""The files of a folder or a table, and their targets, of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .samples import find_samples
from .tags import read_tags
from .targets import Classes, Labels, Targets


class Labelled(NamedTuple):
    """Images and their targets; ``notes`` are sentences on what was left out, and why."""

    paths: Sequence[Path]
    targets: Targets
    notes: Sequence[str]


def find_targets(data: Path, kind: str) -> Labelled:
    """Find images and their targets; none is decoded.

    Args:
        data: Folder of class folders, or a CSV file: for ``"classes"`` as ``samples.find_samples`` takes it, for
            ``"labels"`` as ``tags.read_tags``.
        kind: Kind of the targets.

    Raises:
        FileNotFoundError, ValueError: The data is not as described.
    """
    return _FINDERS[kind](data)


def _find_classes(data: Path) -> Labelled:
    samples = find_samples(data)
    names = sorted({sample.label for sample in samples.found})
    places = {name: index for index, name in enumerate(names)}
    indices = np.array([places[sample.label] for sample in samples.found])
    return Labelled([sample.path for sample in samples.found], Classes(names, indices), samples.notes)


def _find_labels(data: Path) -> Labelled:
    tags = read_tags(data)
    names = tags.names
    truth = np.array([[name in found for name in names] for found in tags.labels.values()], bool)
    return Labelled(list(tags.labels), Labels(names, truth.reshape(len(tags.labels), len(names))), tags.notes)


_FINDERS: Mapping[str, Callable[[Path], Labelled]] = {"classes": _find_classes, "labels": _find_labels}
