"""Measures of a classifier, from what :func:`score` keeps of its predictions. Every image needs a label here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.measures import average_precision
from .outcomes import Outcomes, checked_outcomes

BINS = 15  # bins of confidence, as in arXiv 1706.04599
_NORMAL_95 = 1.959963984540054  # a normal variable is within ± this with a probability of 0.95


class Share(NamedTuple):
    """Share of images and its 95% confidence interval, fractions.

    Example:
        >>> share = wilson(90, 100)
        >>> share.value, round(share.low, 3), round(share.high, 3)
        (0.9, 0.826, 0.945)
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PerClass:
    """Counts of each class, arrays of (classes,).

    Attributes:
        images: Images of the class.
        predicted: Images that were predicted as the class.
        correct: Images of the class that were predicted as it.

    Example:
        >>> counts = per_class(score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]))
        >>> counts.recall.tolist(), counts.precision.tolist()
        ([1.0, 0.5], [0.5, 1.0])
    """

    images: NDArray[np.int64]
    predicted: NDArray[np.int64]
    correct: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the predictions of the class that are correct; NaN without any."""
        return _ratio(self.correct, self.predicted)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the class' images that were predicted as it; NaN without images."""
        return _ratio(self.correct, self.images)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of both, 0 where either is 0; NaN where the class neither has images nor was predicted."""
        return _ratio(2 * self.correct, self.images + self.predicted)


@dataclass(frozen=True)
class Calibration:
    """Accuracy of predictions of about the same confidence, arrays of (bins,); empty bins are left out.

    Attributes:
        counts: Images in the bin.
        confidence: Mean confidence in the bin.
        accuracy: Share of the bin's predictions that are correct.

    Example:
        >>> outcomes = score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
        >>> round(calibrate(outcomes, "width").error, 3)
        0.3
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of accuracy from confidence, weighted by the counts."""
        return float(np.average(abs(self.accuracy - self.confidence), weights=self.counts))


@dataclass(frozen=True)
class Measures:
    """Measures of a classifier.

    Attributes:
        images: Number of images measured.
        top1, top5: Share of images whose label is the best class, or one of the best five; ``top5`` is None for models
            of at most five classes.
        average_precision: Average precision of the second of two classes; None for more classes.
        balanced_accuracy: Mean recall of the classes that have images.
        macro_f1: Mean F1 of the classes that have images.
        negative_log_likelihood: Mean of -ln(probability of the label). A probability of 0 counts as float32's least.
        brier_score: Mean of the sum of squared errors, 0..2.
        confidence: Mean confidence; above ``top1`` the model is overconfident.
        by_width, by_mass: Calibration in bins of equal width, and of equally many images.

    Example:
        >>> found = measure(score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]))
        >>> round(found.top1.value, 3), found.balanced_accuracy
        (0.667, 0.75)
    """

    images: int
    top1: Share
    top5: Share | None
    average_precision: float | None
    balanced_accuracy: float
    macro_f1: float
    negative_log_likelihood: float
    brier_score: float
    confidence: float
    by_width: Calibration
    by_mass: Calibration


def measure(outcomes: Outcomes) -> Measures:
    """Compute all measures.

    Args:
        outcomes: Outcomes in which every image has a label.

    Raises:
        ValueError: There is no image, or one without a label.

    Example:
        >>> measure(score([[0.9, 0.1], [0.2, 0.8]], [0, 1])).top1.value
        1.0
    """
    if not len(checked_outcomes(outcomes)) or (outcomes.labels < 0).any():
        raise ValueError(f"Measures need at least one image, and a label for each; got {len(outcomes)} images.")
    each = per_class(outcomes)
    present = each.images > 0
    return Measures(
        images=len(outcomes),
        top1=top_k(outcomes, 1),
        top5=top_k(outcomes, 5) if outcomes.classes > 5 else None,
        average_precision=_of_second(outcomes) if outcomes.classes == 2 else None,
        balanced_accuracy=float(each.recall[present].mean()),
        macro_f1=float(each.f1[present].mean()),
        negative_log_likelihood=float(-np.log(np.maximum(outcomes.likelihood, np.finfo(np.float32).tiny)).mean()),
        brier_score=float(outcomes.brier.mean()),
        confidence=float(outcomes.confidence.mean()),
        by_width=calibrate(outcomes, "width"),
        by_mass=calibrate(outcomes, "mass"),
    )


def top_k(outcomes: Outcomes, k: int) -> Share:
    """Return the share of the images whose label is among the best ``k`` classes.

    Args:
        outcomes: Outcomes of at least one image.
        k: Number of classes, at least 1.

    Example:
        >>> top_k(score([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]], [1, 2]), k=2).value
        0.5
    """
    return wilson(int((checked_outcomes(outcomes, 1).rank <= arguments.whole("k", k)).sum()), len(outcomes))


def wilson(successes: int, total: int) -> Share:
    """Return a share with Wilson's 95% interval, which holds for few images and for shares near 0 and 1, too.

    Raises:
        ValueError: Not 0 <= successes <= total, or nothing in total.

    Example:
        >>> share = wilson(9, 10)
        >>> share.value, round(share.low, 2), round(share.high, 2)
        (0.9, 0.6, 0.98)
    """
    if arguments.whole("successes", successes, 0) > arguments.whole("total", total):
        raise ValueError(f"successes={successes}: expected at most the total, {total}.")
    share, z2 = successes / total, _NORMAL_95**2
    center = share + z2 / (2 * total)
    spread = _NORMAL_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low, high = ((center + side * spread) / (1 + z2 / total) for side in (-1, 1))
    return Share(share, max(0.0, low), min(1.0, high))


def per_class(outcomes: Outcomes) -> PerClass:
    """Count the images and predictions of each class.

    Args:
        outcomes: Outcomes in which every image has a label.

    Example:
        >>> per_class(score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])).correct.tolist()
        [1, 1]
    """
    outcomes = checked_outcomes(outcomes)
    images, predicted, correct = (
        np.bincount(labels, minlength=outcomes.classes)
        for labels in (outcomes.labels, outcomes.predicted, outcomes.labels[outcomes.is_correct])
    )
    return PerClass(images, predicted, correct)


def calibrate(outcomes: Outcomes, equal: Literal["width", "mass"], bins: int = BINS) -> Calibration:
    """Sort the predictions into bins by their confidence (Guo et al., arXiv 1706.04599, section 2).

    Args:
        outcomes: Outcomes of at least one image.
        equal: ``"width"``: bin i of n holds confidences above i/n up to (i+1)/n; ``"mass"``: each holds as many
            images, but for equal confidences, which stay together.
        bins: Number of bins.

    Example:
        >>> bins = calibrate(score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]), "width", bins=2)
        >>> bins.counts.tolist(), round(float(bins.accuracy[0]), 3)
        ([3], 0.667)
    """
    confidence = checked_outcomes(outcomes, 1).confidence
    arguments.choice("equal", equal, ("width", "mass"))
    arguments.whole("bins", bins)
    if equal == "width":
        chosen = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    else:
        # By the place of the first of equals: so the order of the images has no part in it.
        chosen = np.searchsorted(np.sort(confidence), confidence) * bins // len(confidence)
    counts = np.bincount(chosen, minlength=bins)
    filled = counts > 0
    means = (
        np.bincount(chosen, values, minlength=bins)[filled] / counts[filled]
        for values in (confidence, outcomes.is_correct)
    )
    return Calibration(counts[filled], *means)


def _of_second(outcomes: Outcomes) -> float:
    # From the confidence alone, and not from the label's probability: so equal outputs are equal whatever the label.
    scores = np.where(outcomes.predicted == 1, outcomes.confidence, 1 - outcomes.confidence)
    return average_precision(scores, outcomes.labels == 1)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return ratio
