"""What is kept of each prediction: a few numbers instead of a probability for every class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments

_PROBABILITIES = "probabilities of shape (images, classes), at least 2 classes"
_SUM_TOLERANCE = 0.01  # for the rounding of float16


@dataclass(frozen=True)
class Outcomes:
    """Predictions for labelled images, scored; the arrays have a row per image.

    Attributes:
        classes: Number of the model's classes.
        labels: Class of each image; -1 if the model has no such class.
        predicted: Class of the greatest probability, of equal ones the first.
        confidence: Probability of the predicted class.
        likelihood: Probability of the label; NaN without a label.
        rank: Rank of the label among all classes, from 1; 0 without a label.
        brier: Sum over the classes of the squared error of their probabilities, 0..2; NaN without a label.

    Example:
        >>> outcomes = score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
        >>> outcomes.predicted.tolist(), outcomes.rank.tolist()
        ([0, 1, 0], [1, 1, 2])
    """

    classes: int
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    likelihood: NDArray[np.float64]
    rank: NDArray[np.int64]
    brier: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        return np.equal(self.labels, self.predicted)

    def rows(self, chosen: NDArray[Any]) -> Outcomes:
        """Return the outcomes of some of the images, by a mask or by indices."""
        return Outcomes(self.classes, *(getattr(self, name)[chosen] for name in _ARRAYS))


_ARRAYS = tuple(field.name for field in dataclasses.fields(Outcomes) if field.name != "classes")


def score(probabilities: Any, labels: Any) -> Outcomes:
    """Score a model's predictions against the true classes.

    Args:
        probabilities: (images, classes), each row 0 or more and 1 in sum.
        labels: (images,) integers below ``classes``; -1 if the model has no such class.

    Raises:
        ValueError: These are not probabilities, or no labels of them.

    Example:
        >>> score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], labels=[0, 1, 1]).predicted.tolist()
        [0, 1, 0]
    """
    p, y = arguments.array("probabilities", probabilities, _PROBABILITIES), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2 or y.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities have the shape {p.shape}, labels {y.shape}: expected {_PROBABILITIES}, and a label "
            "for each image."
        )
    if len(y) and (y.dtype.kind not in "iu" or y.min() < -1 or y.max() >= p.shape[1]):
        raise ValueError(
            f"labels: expected whole numbers from 0 to {p.shape[1] - 1}, or -1 for none of the model's classes."
        )
    wrong = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (abs(p.sum(axis=1) - 1) < _SUM_TOLERANCE))
    if wrong.any():
        row = p[wrong][0]
        raise ValueError(
            f"The outputs for {wrong.sum()} of {len(p)} images are not probabilities: one lies between {row.min():.3g} "
            f"and {row.max():.3g} and sums to {row.sum():.3g}. A classifier has to end in softmax; where it does, look "
            "for NaN in its weights."
        )
    y = y.astype(np.int64)  # also what no image has, which NumPy takes for floating numbers
    known = y >= 0
    likelihood = np.where(known, p[np.arange(len(p)), y], np.nan)
    target = likelihood[:, np.newaxis]
    earlier = np.arange(p.shape[1]) < y[:, np.newaxis]
    ahead = ((p > target) | ((p == target) & earlier)).sum(axis=1)
    return Outcomes(
        classes=p.shape[1],
        labels=y,
        predicted=p.argmax(axis=1),
        confidence=p.max(axis=1),
        likelihood=likelihood,
        rank=np.where(known, 1 + ahead, 0),
        brier=np.square(p).sum(axis=1) - 2 * likelihood + 1,
    )


def checked_outcomes(outcomes: Any, least: int = 0) -> Outcomes:
    """Return the outcomes unchanged.

    Raises:
        TypeError: The argument is something else.
        ValueError: They are of fewer than ``least`` images.
    """
    found = arguments.instance("outcomes", outcomes, Outcomes, "what score gives")
    if len(found) < least:
        raise ValueError(f"outcomes are of {len(found)} images: expected at least {least}.")
    return found


def join(parts: Sequence[Outcomes]) -> Outcomes:
    """Join the outcomes of one batch after another, at least one of them and all of the same model.

    Args:
        parts: Outcomes of each batch.

    Example:
        >>> join([score([[0.9, 0.1]], [0]), score([[0.2, 0.8]], [1])]).predicted.tolist()
        [0, 1]
    """
    parts = arguments.items("parts", parts, Outcomes, "what score gives of each batch", least=1)
    return Outcomes(parts[0].classes, *(np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS))


def confusions(outcomes: Outcomes) -> NDArray[np.int64]:
    """Count the pairs of label and prediction that occur: (pairs, 3) of label, prediction and number of images.

    The most frequent come first, equally frequent ones in the order of the classes. Every image needs a label.

    Args:
        outcomes: Outcomes in which every image has a label.

    Example:
        >>> confusions(score([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], [0, 0, 1])).tolist()
        [[0, 0, 2], [1, 0, 1]]
    """
    outcomes = checked_outcomes(outcomes)
    pairs, counts = np.unique(np.stack([outcomes.labels, outcomes.predicted], axis=1), axis=0, return_counts=True)
    found = np.concatenate([pairs, counts[:, np.newaxis]], axis=1)
    return found[np.argsort(-counts, kind="stable")]


def confusion_matrix(outcomes: Outcomes, chosen: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Count how often a class (the row) was predicted as another (the column).

    Args:
        outcomes: Outcomes in which every image has a label.
        chosen: Indices of classes, each once; all by default.

    Returns:
        (classes + 1, classes + 1); the last row and the last column stand for all classes that were not chosen.

    Raises:
        ValueError: ``chosen`` is not a list of indices of classes.

    Example:
        >>> confusion_matrix(score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])).tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    """
    outcomes = checked_outcomes(outcomes)
    if chosen is None:
        chosen = np.arange(outcomes.classes)
    elif np.ndim(chosen) != 1 or not set(np.asarray(chosen).tolist()) <= set(range(outcomes.classes)):
        raise ValueError(f"chosen={chosen!r}: expected indices of classes, 0 to {outcomes.classes - 1}.")
    place = np.full(outcomes.classes, len(chosen))
    place[chosen] = np.arange(len(chosen))
    side = len(chosen) + 1
    counts = np.bincount(place[outcomes.labels] * side + place[outcomes.predicted], minlength=side**2)
    return counts.reshape(side, side)
