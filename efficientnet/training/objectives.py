"""What a training minimises, measures and saves, by the kind of its targets."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..common.measures import average_precision, best_threshold, mean_of_known
from ..datasets.data import Data
from ..datasets.targets import Rows, Targets
from . import losses
from .recipes import LOSSES, Recipe, Stage


class Objective:
    """What a network is trained to do; a subclass for each kind of targets.

    Args:
        data: Images with their targets.
        recipe: Recipe of the training.
        weigh_classes: Whether all classes, or the images with and those without each label, count equally, however many
            they are.

    Attributes:
        activation: Activation of the classifier.
        metric: Name of the measure of training and validation, in the log.
        score: Name of the measure of validation by which the best epoch is chosen; higher is better.
    """

    activation: ClassVar[str | None]
    metric: ClassVar[str]
    score: ClassVar[str]

    def __init__(self, data: Data, recipe: Recipe, weigh_classes: bool = False) -> None:
        self.targets: Targets = data.targets
        self.training, self.recipe, self.weigh_classes = data.training, recipe, weigh_classes

    @property
    def averaged(self) -> int:
        """Number of terms of an image that the loss is the mean of."""
        return 1

    @property
    def outputs(self) -> int:
        """Number of outputs of the classifier."""
        return len(self.targets.names)

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        """Return what the network learns to output for these images, (rows, outputs)."""
        raise NotImplementedError

    def weigh(self, encoded: NDArray[np.float32]) -> NDArray[np.float32] | float:
        """Return the weights of images by their encoded targets, (rows,); 1 if all count equally."""
        return 1.0

    def loss(self, stage: Stage) -> Any:
        """Return Keras' loss of a stage."""
        raise NotImplementedError

    def metrics(self) -> list[Any]:
        """Return Keras' metrics of a stage: the one called ``metric``."""
        raise NotImplementedError

    def keep(self, outputs: NDArray[np.float32], rows: Rows) -> NDArray[Any]:
        """Return what :meth:`measure` needs of the outputs for these images, (rows, …)."""
        return outputs

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        """Return the measures of validation, from what :meth:`keep` returned: "loss", ``metric`` and ``score``."""
        raise NotImplementedError

    def thresholds(self, kept: NDArray[Any], rows: Rows) -> tuple[float, ...] | None:
        """Return the least probability of each label that applies, from the same; None if there are no labels."""
        return None

    def quality(self, row: Mapping[str, Any]) -> tuple[float, float]:
        """Return the sort key of an epoch's row of the log; higher is better."""
        return row[f"val_{self.score}"], -row["val_loss"]

    def best(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of the best epoch: highest score, then lowest loss, then the first."""
        return max(history, key=self.quality)


class OfClasses(Objective):
    """The one class of each image, by a softmax."""

    activation = "softmax"
    metric = score = "accuracy"

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        encoded: NDArray[np.float32] = np.eye(self.outputs, dtype=np.float32)[self.targets.values[rows]]
        return encoded

    @functools.cached_property
    def _class_weights(self) -> NDArray[np.float32]:
        return balanced_weights(self.targets.values[self.training], self.outputs)

    def weigh(self, encoded: NDArray[np.float32]) -> NDArray[np.float32] | float:
        return encoded @ self._class_weights if self.weigh_classes else 1.0

    def loss(self, stage: Stage) -> Any:
        import keras

        # The head converges to a logistic regression, which smooths nothing.
        smoothing = 0.0 if stage.trained == "head" else self.recipe.label_smoothing
        return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)

    def metrics(self) -> list[Any]:
        return ["accuracy"]

    def keep(self, outputs: NDArray[np.float32], rows: Rows) -> NDArray[Any]:
        """Return the loss of each image and whether its class is predicted: of many classes, all would be too much."""
        labels = self.targets.values[rows]
        losses = -np.log(np.maximum(outputs[np.arange(len(labels)), labels], 1e-7))
        return np.stack([losses, np.argmax(outputs, axis=1) == labels], axis=1)

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        losses, right = kept.T
        return {"loss": float(np.mean(losses, dtype=np.float64)), "accuracy": float(np.mean(right, dtype=np.float64))}


class OfLabels(Objective):
    """Any number of labels for each image, by a sigmoid for each."""

    activation = "sigmoid"
    metric, score = "label_accuracy", "mean_average_precision"

    @property
    def averaged(self) -> int:
        return self.outputs

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        return self.targets.values[rows].astype(np.float32)

    def loss(self, stage: Stage) -> Any:
        weights = None
        if self.weigh_classes:
            values = self.targets.values[self.training]
            weights = np.stack([balanced_weights(label.astype(int), 2) for label in values.T], axis=1)
        return losses.label_loss(self.recipe.loss == "asymmetric", weights)

    def metrics(self) -> list[Any]:
        import keras

        return [keras.metrics.BinaryAccuracy(self.metric)]

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        truth, scores = self.targets.values[rows], kept.astype(np.float64)
        likelihood = np.maximum(np.where(truth, scores, 1 - scores), 1e-7)
        precisions = [average_precision(*label) for label in zip(scores.T, truth.T, strict=True)]
        return {
            "loss": float(-np.log(likelihood).mean()),
            self.metric: float(((scores > 0.5) == truth).mean()),
            self.score: mean_of_known(np.array(precisions)),
        }

    def thresholds(self, kept: NDArray[Any], rows: Rows) -> tuple[float, ...] | None:
        return tuple(best_threshold(*label) for label in zip(kept.T, self.targets.values[rows].T, strict=True))


_KINDS: Mapping[str, type[Objective]] = {"classes": OfClasses, "labels": OfLabels}


def objective(data: Data, recipe: Recipe, weigh_classes: bool = False) -> Objective:
    """Return the objective for the targets of the data.

    Raises:
        ValueError: The recipe's loss is not for such targets.
    """
    kind = data.targets.kind
    if recipe.loss is not None and recipe.loss not in LOSSES[kind]:
        accepted = " or ".join(map(repr, LOSSES[kind])) or "no other than the usual one, null"
        raise ValueError(f"loss={recipe.loss!r}: expected {accepted} for the targets {kind!r}.")
    return _KINDS[kind](data, recipe, weigh_classes)


def balanced_weights(labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float32]:
    """Return weights that make classes count equally: images / (classes x images of the class), (classes,)."""
    counts = np.bincount(labels, minlength=classes)
    weights: NDArray[np.float32] = (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)
    return weights
