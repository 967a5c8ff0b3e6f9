"""Classes from a few examples, without a training: regularized least squares on the vectors of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cleaning.neighbours import unit
from ..common import arguments
from ..model_io.outputs import softmax

_STRENGTH = 0.3  # regularization, relative to the examples' mean square
_TEMPERATURES = np.geomspace(0.02, 2, 60)  # to choose from


@dataclass(frozen=True)
class ExampleClassifier:
    """A classifier that is computed from examples, in closed form.

    Attributes:
        classes: Names of the classes.
        center: (numbers,) mean of the examples' vectors.
        kernel: (numbers, classes) weights of the classes' scores.
        temperature: Divisor of the scores before the softmax.
        accuracy: Share of the examples that the others classify correctly, each left out in turn; None if no class has
            two examples.

    Example:
        >>> import numpy as np
        >>> vectors = np.array([[9.0, 1], [8, 1], [1, 7], [1, 9]])
        >>> found = ExampleClassifier.fit(vectors, [0, 0, 1, 1], ["cat", "dog"])
        >>> found.accuracy, found.classes[found.probabilities([[7, 0]]).argmax()]
        (1.0, 'cat')
    """

    classes: list[str]
    center: NDArray[np.float64]
    kernel: NDArray[np.float64]
    temperature: float
    accuracy: float | None

    @classmethod
    def fit(cls, vectors: Any, labels: Any, classes: Sequence[str]) -> ExampleClassifier:
        """Compute the classifier.

        The scores of a vector are a linear function of its direction, the one of the least squared distance to 1 for
        the example's class and 0 for others, with a penalty on its weights. What each example scores where it is left
        out follows in closed form; the temperature is the one that makes probabilities of these scores fit best.

        Args:
            vectors: (examples, numbers) that describe the examples.
            labels: (examples,) index of each example's class.
            classes: Names of the classes, at least two, each with an example.

        Raises:
            ValueError: A class has no example, there is only one class, or the arguments do not fit together.
        """
        classes = arguments.items("classes", classes, str, "the names of the classes")
        directions = unit(arguments.vectors("vectors", vectors, np.float64))
        labels = _indices(arguments.for_each("labels", labels, len(directions)), len(classes))
        missing = [name for index, name in enumerate(classes) if index not in labels]
        if missing or len(classes) < 2:
            given = f"no example of {', '.join(missing)}" if missing else f"one class, {', '.join(classes)}"
            raise ValueError(f"The examples have {given}: expected at least two classes, and an example of each.")
        center = directions.mean(axis=0)
        points, targets = directions - center, np.eye(len(classes))[labels] - 1 / len(classes)
        products = points @ points.T
        scale = max(float(np.trace(products)) / len(points), np.finfo(float).tiny)
        inverse = np.linalg.inv(products + _STRENGTH * scale * np.eye(len(points)))
        solved = inverse @ targets
        left_out = targets - solved / np.diag(inverse)[:, np.newaxis]
        counted = np.bincount(labels, minlength=len(classes))[labels] > 1
        temperature, accuracy = 0.1, None
        if counted.any():
            accuracy = float(np.mean(left_out[counted].argmax(axis=1) == labels[counted]))
            temperature = _best_temperature(left_out[counted], labels[counted])
        return cls(classes, center, points.T @ solved, temperature, accuracy)

    def probabilities(self, vectors: Any) -> NDArray[np.float64]:
        """Return the probabilities of the classes, (images, classes), for vectors (images, numbers).

        Raises:
            ValueError: The vectors are no such numbers, of another length than the examples', or not finite.
        """
        points = arguments.vectors("vectors", vectors, np.float64)
        if points.shape[1:] != self.center.shape:
            raise ValueError(f"vectors of shape {points.shape}: expected {len(self.center)} numbers in each.")
        scores = (unit(points) - self.center) @ self.kernel
        found: NDArray[np.float64] = softmax(scores / self.temperature)
        return found


def _indices(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return labels as indices of ``count`` classes.

    Raises:
        ValueError: One of them is no such index.
    """
    for label in labels.tolist():
        if not isinstance(label, int) or not 0 <= label < count:
            raise ValueError(f"labels has {label!r}: expected the index of each example's class, 0 to {count - 1}.")
    return labels.astype(np.int64)


def _best_temperature(scores: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """Return the temperature of the least negative log-likelihood, as if one image more had a random class."""
    unsure = 1 / (len(labels) + 1)
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        logs = np.log(np.maximum(softmax(scores / temperature), np.finfo(float).tiny))
        return -float(np.mean((1 - unsure) * logs[rows, labels] + unsure * logs.mean(axis=1)))

    return float(min(_TEMPERATURES, key=loss))
