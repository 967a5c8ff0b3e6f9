"""Measures of predictions that training and evaluation share, in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import arguments


def average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the area below precision over recall: sum of precision x growth of recall, from the best score on.

    Args:
        scores: (images,), scores of the class; equal ones count together.
        truth: (images,), whether each image is of the class.

    Returns:
        0..1; NaN if no image is of the class.

    Raises:
        ValueError: The arguments are not scores and truths of the same images.

    Example:
        >>> import numpy as np
        >>> round(average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])), 3)
        0.833
    """
    scores, truth = arguments.array("scores", scores, "numbers (images,)"), np.asarray(truth)
    if scores.ndim != 1 or scores.shape != truth.shape or truth.dtype != bool:
        raise ValueError(
            f"scores have the shape {scores.shape}, truth is {truth.dtype} of shape {truth.shape}: expected "
            "(images,) both, truth as True and False."
        )
    if not truth.any():
        return math.nan
    _, chosen, found = _cuts(scores, truth)
    return float(np.sum(np.diff(found, prepend=0) * found / chosen) / truth.sum())


def best_threshold(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the least score that counts as predicted for the highest F1; 0.5 if no image is of the class.

    It lies in the middle between the two scores that it separates.

    Args:
        scores: (images,), probabilities of the class, 0..1.
        truth: (images,), whether each image is of the class.
    """
    if not truth.any():
        return 0.5
    cuts, chosen, found = _cuts(scores, truth)
    best = int(np.argmax(2 * found / (chosen + truth.sum())))
    below = cuts[best + 1] if best + 1 < len(cuts) else 0.0
    return float(cuts[best] + below) / 2


def _cuts(scores: NDArray[Any], truth: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the distinct scores, the highest first, and how many images and true ones have at least that score."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # the last of each group of equals
    return scores[order][last], last + 1, np.cumsum(truth[order])[last]


def mean_and_deviation(
    values: NDArray[np.float64], weights: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each column of numbers, (columns,) both, by weights of the rows."""
    mean = np.average(values, axis=0, weights=weights)
    return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))


def r_squared(truth: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any] | None = None) -> float:
    """Return the share of the spread of numbers, (images,), that predictions explain; NaN if they do not differ.

    1 is the best; 0 is what their mean as the prediction of all reaches.
    """
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    spread = np.average((truth - np.average(truth, weights=weights)) ** 2, weights=weights)
    return float(1 - np.average((truth - predicted) ** 2, weights=weights) / spread) if spread else math.nan


def spearman(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the correlation of the ranks of numbers, (images,), and of predictions; NaN if one does not differ.

    Equal numbers have the mean of their ranks.
    """
    ranks = []
    for values in (truth, predicted):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    if not all(np.ptp(rank) for rank in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
