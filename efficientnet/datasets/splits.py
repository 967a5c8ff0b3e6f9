"""The images that a training has trained on and those it has held out: two tables in its folder; and its folds."""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common.files import read_bytes, replacing
from ..common.packages import missing
from .samples import Samples

PARTS = ("training", "validation")
OUT_OF_FOLD = "out_of_fold.csv"  # predictions for all images, by networks that have not trained on them
_NAMES = "surrogateescape"  # file names may be any bytes


class Entry(NamedTuple):
    """An image's file, and the SHA-256 of its content, hexadecimal."""

    path: Path
    sha256: str


def write_part(
    run: Path, part: str, entries: Sequence[Entry], columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> None:
    """Write the table of a part, such as ``validation.csv``, into the folder of a training.

    Args:
        run: Folder.
        part: Name from :data:`PARTS`.
        entries: Images of the part.
        columns: Names of the columns of their targets.
        cells: What each image has in these columns.
    """
    with (
        replacing(run / f"{part}.csv") as path,
        path.open("w", encoding="utf-8", errors=_NAMES, newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["path", *columns, "sha256"])
        rows = zip(entries, cells, strict=True)
        table.writerows([entry.path.absolute(), *targets, entry.sha256] for entry, targets in rows)


def select(samples: Samples, run: Path, part: str | None) -> Samples:
    """Select the images of one part of a training, as :func:`select_rows` does."""
    rows, notes = select_rows([sample.path for sample in samples.found], run, part)
    if not notes:
        return samples
    return Samples([samples.found[row] for row in rows], [*samples.notes, *notes])


def select_rows(paths: Sequence[Path], run: Path, part: str | None) -> tuple[list[int], list[str]]:
    """Select the images of one part of a training, or all with a warning about those that it has trained on.

    The content of a file decides, not its path.

    Args:
        paths: Files of images.
        run: Folder of the training; others have no tables.
        part: Name from :data:`PARTS`; None for all images.

    Returns:
        The indices of the images, and sentences that should be known.

    Raises:
        ValueError: The part is unknown, or none of the images is in it.
    """
    known = {name: run / f"{name}.csv" for name in PARTS if (run / f"{name}.csv").is_file()}
    if part is not None and part not in known:
        if (run / OUT_OF_FOLD).is_file():
            raise ValueError(
                f"{run} holds the mean of the networks of several folds, which have trained on all images: pass the "
                f"model of a fold, such as {run / 'fold-1'}, for its part {part}. {OUT_OF_FOLD} has a prediction for "
                "each image by a network that has not trained on it."
            )
        raise ValueError(
            f"There is no {run / f'{part}.csv'}, which says what is in the part {part}: pass a model in the folder "
            "that `efficientnet train` left, or choose the images yourself with a CSV file of path and label."
        )
    everything = list(range(len(paths)))
    if not known:
        return everything, []
    parts = {digest: name for name, table in known.items() for digest in _digests(table)}
    of = [parts.get(sha256_of(path)) for path in paths]
    if part is None:
        trained = of.count("training")
        held_out = "--part validation takes only those that were held out"
        if (run / OUT_OF_FOLD).is_file():
            held_out = f"{OUT_OF_FOLD} beside it has predictions by networks that had not trained on them"
        note = (
            f"{trained} of the {len(of)} images are among those that the model was trained on, so it does better here "
            f"than on others: {held_out}"
        )
        return everything, [note] if trained else []
    chosen = [row for row, name in enumerate(of) if name == part]
    if not chosen:
        raise ValueError(
            f"None of the {len(of)} images is in {known[part]}: pass the data that the model was trained on."
        )
    note = f"{len(chosen)} of the {len(of)} images are in {known[part]}: only these count"
    trained_on = "; the model was trained on them, so it does better here than on others" if part == "training" else ""
    return chosen, [note + trained_on]


def falls_below(digest: bytes, fraction: float) -> bool:
    """Return whether a hash is in this fraction of all hashes."""
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def keep_rare_labels(
    held_out: NDArray[np.bool_], truth: NDArray[np.bool_], digests: Sequence[bytes]
) -> NDArray[np.bool_]:
    """Move as few images as possible between the parts so that each label has images in both.

    A label of a single image stays in training. Of the images of a label, the one moves whose hash is the nearest to
    the other part, so that the result does not depend on the order; copies of an image stay together.

    Args:
        held_out: (images,), whether an image is held out by its content's hash.
        truth: (images, labels), whether the label applies.
        digests: Hash of each image's content.

    Returns:
        (images,), whether an image is held out.
    """
    held_out = held_out.copy()
    _, group = np.unique(np.array(digests), return_inverse=True)  # numbered in the order of the hashes
    for label in np.argsort(truth.sum(axis=0), kind="stable"):
        has = truth[:, label]
        for to_validation in (False, True):  # training first: it needs the only image of a label
            groups = np.unique(group[has & (held_out != to_validation)])
            if (has & (held_out == to_validation)).any() or len(groups) < 1 + to_validation:
                continue
            # From the lowest hash on, which a larger fraction would hold out next; and the other way round.
            candidates = groups if to_validation else groups[::-1]
            moved = min(candidates, key=lambda one: _labels_lost(truth, group == one, held_out == (not to_validation)))
            held_out[group == moved] = to_validation
    return held_out


def _labels_lost(truth: NDArray[np.bool_], moved: NDArray[np.bool_], part: NDArray[np.bool_]) -> int:
    """Return the number of labels that a part would have no image of without those that are moved."""
    return int((truth[part].any(axis=0) & ~truth[part & ~moved].any(axis=0)).sum())


def assign_folds(
    groups: NDArray[np.integer[Any]], content: Sequence[str] | NDArray[Any], folds: int, seed: int
) -> NDArray[np.integer[Any]]:
    """Assign each image a fold of a cross-validation, (images,), from 0: each has an equal share of every group.

    Copies of an image stay together. The order of the images has no part in it.

    Args:
        groups: (images,) index of each image's group, such as its class.
        content: (images,) values that sort, which only copies of an image share.
        folds: Number of folds, at least 2; fewer if all groups are smaller.
        seed: Random seed.

    Raises:
        ImportError: The package scikit-learn is missing.
    """
    try:
        from sklearn.model_selection import StratifiedKFold
    except ImportError as error:
        raise missing("Folds need scikit-learn", "training") from error
    _, first, copies = np.unique(np.asarray(content), return_index=True, return_inverse=True)
    splitter = StratifiedKFold(min(folds, np.bincount(groups[first]).max()), shuffle=True, random_state=seed)
    fold = np.zeros(len(first), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a group smaller than the number of folds
        for number, (_, members) in enumerate(splitter.split(first, groups[first])):
            fold[members] = number
    return fold[copies]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content; empty if it cannot be read, which the reader of the image reports."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:
        return ""


def _digests(table: Path) -> list[str]:
    with table.open(encoding="utf-8", errors=_NAMES, newline="") as file:
        return [row["sha256"] for row in csv.DictReader(file)]
