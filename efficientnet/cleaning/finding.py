"""All issues of a labelled data set, from the features of a pretrained network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..datasets.data import Data
from ..datasets.splits import PARTS
from ..datasets.targets import Classes
from ..family.scaling import AnyVariant
from ..family.variants import get_variant
from .features import compute_features
from .label_issues import FOLDS, LabelIssues, find_label_issues
from .neighbours import SIMILARITY, find_near_duplicates, find_outliers
from .report import Image, Issue, Issues


def find_issues(
    data: Data,
    model: AnyVariant = "lite0",
    weights: str | None = "imagenet",
    *,
    similarity: float = SIMILARITY,
    folds: int = FOLDS,
    seed: int = 0,
) -> Issues:
    """Find probably wrong labels, near-duplicates across classes and parts, and outliers. Nothing is changed.

    Args:
        data: Labelled images as squares, as ``datasets.load`` reads them.
        model: Variant whose features describe the images.
        weights: Published set or file of its weights; None for random ones, which describe little.
        similarity: Least cosine similarity of near-duplicates, up to 1.
        folds: Parts of the cross-validation that judges the labels.
        seed: Random seed.

    Raises:
        ImportError: The package scikit-learn is missing.
        ValueError, OSError: There is no such network, too little data to judge labels by, or targets that are no
            classes.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> found = find_issues(load("flowers", size=32), small, weights=None)
        >>> found.images, found.unreadable
        (12, [])
    """
    classes = _classes(arguments.instance("data", data, Data, "labelled images, as datasets.load returns them"))
    rows, features = compute_features(data, data.pixels.shape[1], model, weights)
    parts = np.isin(rows, data.validation).astype(int)
    labels = classes[rows]
    images = [_image(data, row, part) for row, part in zip(rows, parts, strict=True)]
    judged = find_label_issues(features, labels, data.contents(rows), folds, seed)
    found = _label_issues(data, images, judged)
    found += [
        Issue("duplicate", images[pair.first], pair.similarity, other=images[pair.second])
        for pair in find_near_duplicates(features, labels, parts, similarity)
    ]
    outliers = find_outliers(features, seed)
    found += [Issue("outlier", images[row], float(outliers.scores[row])) for row in outliers.suspects]
    unreadable = [entry.path for entry in data.entries if not entry.sha256]
    alone = dict.fromkeys(images[row].label for row in np.flatnonzero(np.isnan(judged.scores)))
    notes = [f"{name} has one image only, whose label is not judged" for name in alone]
    return Issues(data, get_variant(model).name, len(images), found, unreadable, notes)


def find_wrong_training_labels(data: Data, size: int, seed: int = 0) -> list[Issue]:
    """Find the training images whose label is probably wrong, by other training images alone.

    Lite0's published weights describe the images. A class keeps its images if all were suspects.

    Args:
        data: Labelled images, of ``size`` or whole.
        size: Side of the squares that they are judged by, pixels.
        seed: Random seed.

    Raises:
        ImportError: The package scikit-learn is missing.
        ValueError, OSError: The weights are not there, or there is too little data to judge labels by.
    """
    classes = _classes(data)
    rows, features = compute_features(data.without(data.validation), size)
    labels = classes[rows]
    judged = find_label_issues(features, labels, data.contents(rows), seed=seed)
    left = np.delete(labels, judged.suspects)
    images = [_image(data, row, 0) for row in rows]
    names = {data.classes[label] for label in left}
    return [issue for issue in _label_issues(data, images, judged) if issue.image.label in names]


def _classes(data: Data) -> NDArray[np.integer[Any]]:
    """Return the index of each image's class.

    Raises:
        ValueError: The targets are not classes.
    """
    if not isinstance(data.targets, Classes):
        raise ValueError(f"{data.name} has {data.targets.what} to learn: only labels of classes can be judged.")
    return data.targets.indices


def _label_issues(data: Data, images: list[Image], judged: LabelIssues) -> list[Issue]:
    return [
        Issue(
            "label", images[row], float(judged.scores[row]), data.classes[judged.suggested[row]],
            float(judged.confidence[row]),
        )
        for row in judged.suspects
    ]  # fmt: skip


def _image(data: Data, row: int, part: int) -> Image:
    path = str(data.entries[row].path) if data.entries else str(row)
    return Image(int(row), path, PARTS[part], data.targets.text(row))
