"""What ``efficientnet train`` makes of its images: without wrong labels, and with images that a teacher labels."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..common.text import plain

if TYPE_CHECKING:
    from ..datasets.data import Data
    from ..training import Recipe
    from ..training.teacher import Teacher

# Kinds of targets that an option is for.
_TARGETS = {
    "clean": ("classes", "ordinal", "probabilities"),
    "teacher": ("classes", "probabilities", "labels"),
    "unlabelled": ("classes", "probabilities"),
}
# Fields of a recipe that are for an option alone.
_FIELDS = {"teacher_share": "teacher", "pseudo_confidence": "unlabelled"}


class Prepared(NamedTuple):
    """Images to train on, and what they were made by.

    Attributes:
        data: Images.
        teacher: Trained model that is learnt from; None for none.
        tables: Functions that write the run's further tables, by their names; of those that it does not have yet.
    """

    data: Data
    teacher: Teacher | None
    tables: Mapping[str, Callable[[Path], None]]


def check(arguments: argparse.Namespace) -> None:
    """Check, before anything is read, that the options go together.

    Raises:
        ValueError, FileNotFoundError: They do not, or there is no teacher.
    """
    for option, kinds in _TARGETS.items():
        if getattr(arguments, option) and arguments.targets not in kinds:
            raise ValueError(
                f"--{option} is for the targets {', '.join(kinds)}, not for {arguments.targets}: leave it out."
            )
    for field, option in _FIELDS.items():
        if field in dict(arguments.set) and not getattr(arguments, option) and not arguments.resume:
            raise ValueError(f"--set {field} has no effect without --{option}: give that, or leave it out.")
    if arguments.clean and arguments.distributed is not None:
        raise ValueError(
            "--clean judges all images in one process: train in one, or run `efficientnet clean` first and pass a CSV "
            "file without the labels that are wrong."
        )
    if arguments.teacher and not Path(arguments.teacher).exists():
        raise FileNotFoundError(
            f"There is no file or folder {arguments.teacher}: expected a saved model, or the folder of a training."
        )
    if arguments.unlabelled and (not arguments.teacher or arguments.distributed is not None):
        raise ValueError(
            "--unlabelled takes --teacher, a trained model that labels the images, and one process: leave out "
            "--distributed."
        )


def prepare(data: Data, size: int, recipe: Recipe, out: Path, arguments: argparse.Namespace) -> Prepared:
    """Leave out wrong labels, and add images that the teacher labels, as the options say.

    What a run that is resumed has in its tables is taken from there. Nothing is written, since ``out`` may hold another
    training.

    Raises:
        ValueError, OSError: The labels cannot be judged, the teacher predicts something else, or no image is left.
    """
    tables: dict[str, Callable[[Path], None]] = {}
    if arguments.clean:
        data = _without_wrong_labels(data, size, out, arguments, tables)
    if not arguments.teacher:
        return Prepared(data, None, tables)
    from ..training.teacher import Teacher

    teacher = Teacher.of_file(arguments.teacher, data.targets, data.channels)
    if arguments.unlabelled:
        data = _with_unlabelled(data, size, recipe, out, arguments, teacher, tables)
    return Prepared(data, teacher, tables)


def _without_wrong_labels(
    data: Data, size: int, out: Path, arguments: argparse.Namespace, tables: dict[str, Callable[[Path], None]]
) -> Data:
    from ..cleaning.finding import find_wrong_training_labels
    from ..cleaning.report import read_indices, write_issues
    from ..training.run_folder import LEFT_OUT

    if arguments.resume and (out / LEFT_OUT).is_file():
        indices = read_indices(out / LEFT_OUT)
    else:
        found = find_wrong_training_labels(data, size, arguments.seed)
        indices = [issue.image.row for issue in found]
        tables[LEFT_OUT] = partial(write_issues, issues=found)
    listed = "" if arguments.plan else f": {plain(out / LEFT_OUT)}"
    print(f"left out {len(indices)} of {len(data.training)} training images, whose label is probably wrong{listed}")
    return data.without(np.array(indices, np.int64))


def _with_unlabelled(
    data: Data, size: int, recipe: Recipe, out: Path, arguments: argparse.Namespace, teacher: Teacher,
    tables: dict[str, Callable[[Path], None]],
) -> Data:  # fmt: skip
    from ..datasets.files import load_unlabelled
    from ..training.pseudo_labels import PSEUDO_LABELS, add_pseudo_labels, read_pseudo_labels, write_pseudo_labels

    unlabelled = load_unlabelled(
        Path(arguments.unlabelled), None if recipe.crop < 1 else size, data.channels, crop=data.crop
    )
    table, names = out / PSEUDO_LABELS, data.targets.names
    known = read_pseudo_labels(table, names) if arguments.resume and table.is_file() else None
    data, probabilities = add_pseudo_labels(data, unlabelled, teacher, size, recipe.pseudo_confidence, known)
    if known is None:
        tables[PSEUDO_LABELS] = partial(write_pseudo_labels, names=names, probabilities=probabilities)
    return data
