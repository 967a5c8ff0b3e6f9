"""Images without labels that a teacher labels, as in Noisy Student (arXiv 1911.04252)."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.files import replacing
from ..common.text import notify
from ..datasets.data import Data, Files, temporary_array
from ..datasets.targets import Classes
from .batches import all_images
from .teacher import Teacher

PSEUDO_LABELS = "pseudo_labels.csv"
# Probabilities of the classes, by the SHA-256 of an image's file.
Probabilities = Mapping[str, NDArray[np.float64]]
_BATCH = 64


def add_pseudo_labels(
    data: Data, unlabelled: Data, teacher: Teacher, size: int, least: float, known: Probabilities | None = None
) -> tuple[Data, Probabilities]:
    """Add images without labels to those to train on, with the probabilities that a teacher predicts for them.

    An image that is among the labelled ones, or for which no probability reaches ``least``, is left out.

    Args:
        data: Labelled images, of classes.
        unlabelled: Images that :func:`.files.load_unlabelled` read, of the same size and channels.
        teacher: Trained model of the same classes.
        size: Side of the squares that the teacher gets, pixels.
        least: Least probability of the most probable class, 0..1.
        known: Probabilities that were predicted before, which are taken instead.

    Returns:
        The images, and the probabilities of those that were added.

    Raises:
        ValueError: The data has no classes, or no image is left.
    """
    if not isinstance(data.targets, Classes) or data.targets.kind != "classes":
        raise ValueError(
            f"Images without labels get probabilities of classes, and {data.name} has {data.targets.what}."
        )
    labelled = {entry.sha256 for entry in data.entries}
    rows = [int(row) for row in unlabelled.training if unlabelled.entries[row].sha256 not in labelled]
    if known is None:
        predicted = np.concatenate([teacher(batch) for batch in all_images(unlabelled, size, _BATCH)])
        # As the table has them, so that a resumed training takes the same.
        known = {
            unlabelled.entries[row].sha256: np.array([float(f"{value:.6g}") for value in predicted[row].tolist()])
            for row in rows
            if predicted[row].max() >= least
        }
    kept = [row for row in rows if unlabelled.entries[row].sha256 in known]
    count, copies = len(unlabelled.training), len(unlabelled.training) - len(rows)
    notify(
        f"{len(kept)} of {count} images without labels get the teacher's predictions: of {len(rows) - len(kept)} it is "
        f"not sure (least {least:g}), {copies} are among the labelled ones"
    )
    if not kept:
        raise ValueError(
            f"None of the {count} images without labels is left: give others, or lower the least probability "
            f"(--set pseudo_confidence={least / 2:g})."
        )
    probabilities = np.stack([known[unlabelled.entries[row].sha256] for row in kept])
    return _joined(data, unlabelled, kept, probabilities), known


def _joined(data: Data, unlabelled: Data, rows: list[int], probabilities: NDArray[np.float64]) -> Data:
    values = data.targets.values
    given = values if values.ndim > 1 else np.eye(len(data.classes))[values]
    weights = data.targets.weights
    if weights is not None:
        weights = np.concatenate([weights, np.full(len(rows), weights[data.training].mean())])
    pixels: Any
    if isinstance(data.pixels, Files):
        pixels = Files([*data.pixels.paths, *(unlabelled.pixels.paths[row] for row in rows)], data.channels)
    else:
        pixels = temporary_array((len(values) + len(rows), *data.pixels.shape[1:]))
        pixels[: len(values)] = data.pixels
        for place, row in enumerate(rows, len(values)):
            pixels[place] = unlabelled.pixels[row]
    return dataclasses.replace(
        data,
        pixels=pixels,
        targets=dataclasses.replace(data.targets, values=np.concatenate([given, probabilities]), weights=weights),
        training=np.concatenate([data.training, len(values) + np.arange(len(rows))]),
        entries=[*data.entries, *(unlabelled.entries[row] for row in rows)] if data.entries else (),
    )


def write_pseudo_labels(table: Path, names: Sequence[str], probabilities: Probabilities) -> None:
    """Write a table of probabilities of the named classes.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(table) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sha256", *names])
        writer.writerows([digest, *row.tolist()] for digest, row in probabilities.items())


def read_pseudo_labels(table: Path, names: Sequence[str]) -> Probabilities:
    """Read the table of :func:`write_pseudo_labels`.

    Raises:
        ValueError: The table is of other classes.
    """
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if header != ["sha256", *names]:
        raise ValueError(f"{table} has the columns {', '.join(header)}: expected sha256, {', '.join(names)}.")
    return {digest: np.array(values, np.float64) for digest, *values in rows}
