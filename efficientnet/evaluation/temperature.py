"""Temperature scaling: a single number that calibrates a classifier (Guo et al., arXiv 1706.04599, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model_io.outputs import softmax
from ..reports.tables import percent
from .formats import Tables
from .outcomes import Outcomes, checked_outcomes, join, score
from .statistics import BINS, measure

MOST_PROBABILITIES = 2**26  # kept for a fit: 256 MiB; ImageNet's validation images have 50 million
# Probabilities below these are taken for them. Of two classes, one probability may be 1 minus the other, rounded.
_LEAST, _LEAST_OF_TWO = float(np.finfo(np.float32).tiny), 2.0**-25
_CHUNK = 2**20  # probabilities in 64 bits at a time
_PRECISION = 1e-9  # relative error of the temperature


@dataclass(frozen=True)
class TemperatureScaling:
    """The temperature that calibrates a classifier on some images, and what it does to their predictions.

    The classifier's logits are divided by it, so that the predicted classes stay the same.

    Attributes:
        temperature: Temperature of the least negative log-likelihood; above 1 the model is overconfident.
        before: Outcomes of the images.
        after: Outcomes at the temperature.

    Example:
        >>> scaling = fit_temperature([[0.99, 0.01], [0.99, 0.01], [0.01, 0.99]], [0, 1, 1])
        >>> round(scaling.temperature, 2), scaling.after.confidence.round(3).tolist()
        (6.63, [0.667, 0.667, 0.667])
    """

    temperature: float
    before: Outcomes
    after: Outcomes

    def move(self, threshold: float) -> float:
        """Return the threshold of a probability, 0..1, that decides at the temperature as this one does without."""
        if not 0 < threshold < 1:
            return threshold
        return 1 / (1 + math.exp(-math.log(threshold / (1 - threshold)) / self.temperature))


def tables_of(found: TemperatureScaling | str) -> Tables:
    """Return a table of the measures without and with a temperature by its name; none where there is no temperature."""
    if isinstance(found, str):
        return {}
    both = [measure(outcomes) for outcomes in (found.before, found.after)]
    bins = f"expected calibration error, {BINS} bins"
    rows = [
        [f"{bins} of equal width", *(percent(each.by_width.error) for each in both)],
        [f"{bins} of equal mass", *(percent(each.by_mass.error) for each in both)],
        ["negative log-likelihood", *(f"{each.negative_log_likelihood:.4f}" for each in both)],
        ["Brier score (0..2)", *(f"{each.brier_score:.4f}" for each in both)],
    ]
    return {"temperature": (["temperature scaling", "1", f"{found.temperature:.4g}"], rows)}


def json_of(found: TemperatureScaling | str) -> dict[str, Any]:
    """Return the numbers of a temperature, or the reason why there is none, for ``json.dumps``."""
    if isinstance(found, str):
        return {"temperature": None, "reason": found}
    parts = {
        name: {
            "expected_calibration_error": both.by_width.error,
            "negative_log_likelihood": both.negative_log_likelihood,
            "brier_score": both.brier_score,
        }
        for name, both in (("before", measure(found.before)), ("after", measure(found.after)))
    }
    return {"temperature": found.temperature, **parts}


def fit_temperature(probabilities: Any, labels: Any) -> TemperatureScaling:
    """Find the temperature of the least negative log-likelihood.

    Args:
        probabilities: (images, classes), as the model predicts them: a softmax. Of a sigmoid p they are 1 - p and p.
        labels: (images,), the class of each image.

    Raises:
        ValueError: These are not probabilities or labels, or no temperature is the best.

    Example:
        >>> found = fit_temperature([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], labels=[0, 0, 1, 1])
        >>> round(found.temperature, 6)  # three of four are right, and so the confidence becomes 0.75
        2.0
    """
    p = np.asarray(probabilities)
    before = checked_outcomes(score(p, labels), least=1)
    labels = before.labels
    if (labels < 0).any():
        raise ValueError("labels: a temperature needs the class of each image, and -1 is none.")
    if not (before.likelihood < before.confidence).any():
        raise ValueError(
            f"in none of the {len(labels)} images another class is more probable than the true one, and so the lower "
            "the temperature the better"
        )
    if _slope(p, labels, 0.0)[0] > -_PRECISION:
        raise ValueError("the labels are no more probable than other classes, at any temperature")
    temperature = 1 / _best_inverse(p, labels)
    after = [score(_at(temperature, p[rows]), labels[rows]) for rows in _chunks(p)]
    return TemperatureScaling(temperature, before, join(after))


def as_pairs(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each label of each image as a prediction of two classes, no and yes: probabilities, and the true class.

    So one temperature is found for all labels.

    Args:
        scores: (images, labels), the probability of each label.
        truth: (images, labels), whether the label applies.
    """
    flat = np.clip(scores.ravel(), 0, 1)  # an engine may round beyond
    return np.stack([1 - flat, flat], axis=1), truth.ravel().astype(np.int64)


def _best_inverse(p: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Find the inverse temperature, in which the likelihood is convex: by Newton's method, within known bounds."""
    low, high, inverse = 0.0, math.inf, 1.0
    for _ in range(200):
        slope, curvature = _slope(p, labels, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        following = inverse - slope / curvature if curvature else math.inf
        if not low < following < high:
            following = 2 * inverse if high == math.inf else (low + high) / 2
        if abs(following - inverse) < _PRECISION * inverse:
            break
        inverse = following
    return inverse


def _slope(p: NDArray[Any], labels: NDArray[np.int64], inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean negative log-likelihood by the inverse temperature."""
    first = second = 0.0
    for rows in _chunks(p):
        logs = _logarithms(p[rows])
        weights = softmax(inverse * logs)
        means = (weights * logs).sum(axis=1)
        first += float((means - logs[np.arange(len(logs)), labels[rows]]).sum())
        second += float((weights * np.square(logs - means[:, np.newaxis])).sum())
    return first / len(p), second / len(p)


def _at(temperature: float, p: NDArray[Any]) -> NDArray[np.float64]:
    return softmax(_logarithms(p) / temperature)


def _logarithms(p: NDArray[Any]) -> NDArray[np.float64]:
    """Return logits, up to a summand for each image, which a softmax does not see."""
    logs: NDArray[np.float64] = np.log(np.maximum(p.astype(np.float64), _LEAST_OF_TWO if p.shape[1] == 2 else _LEAST))
    return logs


def _chunks(p: NDArray[Any]) -> Iterator[slice]:
    size = max(1, _CHUNK // p.shape[1])
    return (slice(start, start + size) for start in range(0, len(p), size))
