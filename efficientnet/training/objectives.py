"""What a training minimizes, measures and saves, by the kind of its targets."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..common.measures import average_precision, best_threshold, mean_and_deviation, mean_of_known, r_squared
from ..datasets.data import Data
from ..datasets.targets import Classes, Rows, Targets
from . import losses
from .recipes import LOSSES, Recipe, Stage


class Objective:
    """What a network is trained to do; a subclass for each kind of targets.

    The network learns to output the encoded targets. The saved one may have another layer behind it.

    Args:
        data: Images with their targets.
        recipe: Recipe of the training.
        balance: Whether all classes, or the images with and those without each label, count equally, however many they
            are.

    Attributes:
        activation: Activation of the classifier.
        metric: Name of the measure of training and validation, in the log.
        score: Name of the measure of validation by which the best epoch is chosen.
    """

    activation: ClassVar[str | None]
    metric: ClassVar[str]
    score: ClassVar[str]

    def __init__(self, data: Data, recipe: Recipe, balance: bool = False) -> None:
        self.targets: Targets = data.targets
        self.training, self.validation, self.recipe, self.balance = data.training, data.validation, recipe, balance

    @property
    def outputs(self) -> int:
        """Number of outputs of the classifier."""
        return len(self.targets.names)

    @property
    def averaged(self) -> int:
        """Number of terms of an image that the loss is the mean of."""
        return self.outputs

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        """Return what the network learns to output for these images, (rows, outputs)."""
        raise NotImplementedError

    def image_weights(self, rows: Rows) -> NDArray[np.float32]:
        """Return the weights of these images, (rows,), whose mean over all training images is 1."""
        if self.targets.weights is None:
            return np.ones(len(rows), np.float32)
        mean = self.targets.weights[self.training].mean()
        return np.asarray(self.targets.weights[rows] / mean, np.float32)

    def weigh(self, encoded: NDArray[np.float32]) -> NDArray[np.float32] | float:
        """Return the weights of images by their encoded targets, (rows,); 1 if all count equally."""
        return 1.0

    def finish(self, outputs: Any) -> tuple[Any, Any]:
        """Return the tensors that the network is trained to output and that the saved one outputs."""
        return outputs, outputs

    @contextlib.contextmanager
    def in_units(self, model: Any) -> Iterator[None]:
        """Make the saved network's outputs those of the data's units within the context."""
        yield

    def as_trained(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network was trained to output, for outputs of the saved one, (rows, outputs)."""
        return outputs

    def loss(self, stage: Stage) -> Any:
        """Return Keras' loss of a stage."""
        raise NotImplementedError

    def metrics(self) -> list[Any]:
        """Return Keras' metrics of a stage: the one called ``metric``."""
        raise NotImplementedError

    def keep(self, outputs: NDArray[np.float32], rows: Rows) -> NDArray[Any]:
        """Return what :meth:`measure` needs of the trained outputs for these images, (rows, …)."""
        return outputs

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        """Return the measures of validation, from what :meth:`keep` returned: "loss", ``metric`` and ``score``."""
        raise NotImplementedError

    def mean(self, values: NDArray[Any], rows: Rows) -> float:
        """Return the mean of the values of these images, (rows, …), by the images' weights."""
        each = values.astype(np.float64).reshape(len(rows), -1).mean(axis=1)
        weights = None if self.targets.weights is None else self.targets.weights[rows]
        return float(np.average(each, weights=weights if weights is not None and weights.any() else None))

    def thresholds(self, kept: NDArray[Any], rows: Rows) -> tuple[float, ...] | None:
        """Return the least probability of each label that applies, from the same; None if there are no labels."""
        return None

    def quality(self, row: Mapping[str, Any]) -> tuple[float, float]:
        """Return the sort key of an epoch's row of the log; higher is better."""
        return row[f"val_{self.score}"], -row["val_loss"]

    def best(self, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of the best epoch: best score, then lowest loss, then the first."""
        return max(history, key=self.quality)


class OfClasses(Objective):
    """The one class of each image, or its probabilities, by a softmax."""

    activation: ClassVar[str | None] = "softmax"
    metric, score = "accuracy", "accuracy"
    targets: Classes

    @property
    def averaged(self) -> int:
        return 1

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        if self.targets.values.ndim > 1:
            return self.targets.values[rows].astype(np.float32)
        encoded: NDArray[np.float32] = np.eye(self.outputs, dtype=np.float32)[self.targets.values[rows]]
        return encoded

    def loss(self, stage: Stage) -> Any:
        import keras

        return keras.losses.CategoricalCrossentropy(label_smoothing=self._smoothing(stage))

    def _smoothing(self, stage: Stage) -> float:
        # The head converges to a logistic regression, which smooths nothing.
        return 0.0 if stage.trained == "head" else self.recipe.label_smoothing

    def metrics(self) -> list[Any]:
        return ["accuracy"]

    def keep(self, outputs: NDArray[np.float32], rows: Rows) -> NDArray[Any]:
        """Return the loss of each image and whether its class is predicted: of many classes, all would be too much."""
        is_right = np.argmax(outputs, axis=1) == self.targets.indices[rows]
        values = self.targets.values[rows]
        if values.ndim > 1:
            likelihoods = (values * losses.log_likelihood(outputs)).sum(axis=1)
        else:
            likelihoods = losses.log_likelihood(outputs[np.arange(len(rows)), values])
        return np.stack([-likelihoods, is_right], axis=1)

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        return {"loss": self.mean(kept[:, 0], rows), "accuracy": self.mean(kept[:, 1], rows)}

    def best(self, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of the last epoch whose score is within its standard error of the highest."""
        # On few images the highest is chance, and later epochs, at a lower rate, are better on new images.
        score = f"val_{self.score}"
        highest, images = max(row[score] for row in history), self.images_behind_score
        share = (highest * images + 2) / (images + 4)  # by Agresti and Coull: uncertain even where all are right
        least = highest - math.sqrt(share * (1 - share) / (images + 4))
        return [row for row in history if row[score] >= least][-1]

    @property
    def images_behind_score(self) -> float:
        """Number of validation images that a share with the variance of the score would be of."""
        return len(self.validation)


class OfBalancedClasses(OfClasses):
    """The one class of each image, where all classes count equally, by logit adjustment (arXiv 2007.07314)."""

    score = "mean_recall"

    def loss(self, stage: Stage) -> Any:
        shares = np.average(self.encode(self.training), axis=0, weights=self.image_weights(self.training))
        return losses.balanced_loss(shares, self._smoothing(stage))

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        labels = self.targets.indices[rows]
        recalls = [self.mean(kept[labels == index, 1], rows[labels == index]) for index in np.unique(labels)]
        return {**super().measure(kept, rows), self.score: float(np.mean(recalls))}

    @property
    def images_behind_score(self) -> float:
        counts = np.unique(self.targets.indices[self.validation], return_counts=True)[1]
        return float(len(counts) ** 2 / np.sum(1 / counts))


class OfLabels(Objective):
    """Any number of labels for each image, by a sigmoid for each."""

    activation = "sigmoid"
    metric, score = "label_accuracy", "mean_average_precision"

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        return self.targets.values[rows].astype(np.float32)

    def loss(self, stage: Stage) -> Any:
        weights = None
        if self.balance:
            values, each = self.targets.values[self.training], self.image_weights(self.training)
            weights = np.stack([losses.balanced_weights(label.astype(int), 2, each) for label in values.T], axis=1)
        return losses.label_loss(self.recipe.loss == "asymmetric", weights)

    def metrics(self) -> list[Any]:
        import keras

        return [keras.metrics.BinaryAccuracy(self.metric)]

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        truth, scores = self.targets.values[rows], kept.astype(np.float64)
        precisions = [average_precision(*label) for label in zip(scores.T, truth.T, strict=True)]
        return {
            "loss": self.mean(-losses.log_likelihood(scores, truth), rows),
            self.metric: self.mean((scores > 0.5) == truth, rows),
            self.score: mean_of_known(np.array(precisions)),
        }

    def thresholds(self, kept: NDArray[Any], rows: Rows) -> tuple[float, ...] | None:
        return tuple(best_threshold(*label) for label in zip(kept.T, self.targets.values[rows].T, strict=True))


class OfValues(Objective):
    """Numbers, which the network learns standardized; the saved one gives them in the units of the data.

    A classifier without an activation takes the units over into its weights.
    """

    activation = None
    metric, score = "mae", "r2"

    @functools.cached_property
    def _location_and_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return mean_and_deviation(self.targets.values[self.training], self.image_weights(self.training))

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        mean, std = self._location_and_scale
        return ((self.targets.values[rows] - mean) / std).astype(np.float32)

    @contextlib.contextmanager
    def in_units(self, model: Any) -> Iterator[None]:
        mean, std = self._location_and_scale
        layer = model.get_layer("probs")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * std, bias * std + mean])
        try:
            yield
        finally:
            layer.set_weights([kernel, bias])

    def as_trained(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        mean, std = self._location_and_scale
        standardized: NDArray[np.float32] = ((outputs - mean) / std).astype(np.float32)
        return standardized

    def loss(self, stage: Stage) -> Any:
        import keras

        return keras.losses.Huber() if self.recipe.loss == "huber" else keras.losses.MeanSquaredError()

    def metrics(self) -> list[Any]:
        import keras

        std = self._location_and_scale[1].astype(np.float32)

        def error(y_true: Any, y_pred: Any) -> Any:
            y_true, y_pred, scale = map(keras.ops.convert_to_tensor, (y_true, y_pred, std))
            return keras.ops.mean(keras.ops.abs(y_true - y_pred) * scale, axis=-1)

        return [keras.metrics.MeanMetricWrapper(error, self.metric)]

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        mean, std = self._location_and_scale
        truth, predicted = self.targets.values[rows], kept * std + mean
        weights = None if self.targets.weights is None else self.targets.weights[rows]
        spread = [r_squared(*column, weights) for column in zip(truth.T, predicted.T, strict=True)]
        return {
            "loss": self.mean(((predicted - truth) / std) ** 2, rows),
            self.metric: self.mean(np.abs(predicted - truth), rows),
            self.score: mean_of_known(np.array(spread)),
        }


class OfOrdinal(Objective):
    """The one class of each image, of classes with an order, by CORAL (arXiv 1901.07884).

    One number for each image is compared with a threshold between each two classes. The network learns the
    probabilities that the class is above each of them; the saved one gives those of the classes.
    """

    activation = None
    metric, score = "accuracy", "mae"
    targets: Classes

    @property
    def outputs(self) -> int:
        return 1

    @property
    def averaged(self) -> int:
        return len(self.targets.names) - 1

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        return (self.targets.values[rows][:, np.newaxis] > np.arange(self.averaged)).astype(np.float32)

    @functools.cached_property
    def _class_weights(self) -> NDArray[np.float32]:
        labels, each = self.targets.indices[self.training], self.image_weights(self.training)
        return losses.balanced_weights(labels, len(self.targets.names), each)

    def weigh(self, encoded: NDArray[np.float32]) -> NDArray[np.float32] | float:
        return self._of_classes(encoded) @ self._class_weights if self.balance else 1.0

    @staticmethod
    def _of_classes(above: Any, ops: Any = np) -> Any:
        """Return the classes' probabilities, as the saved network gives them, for those to be above each threshold."""
        return ops.pad(above, ((0, 0), (1, 0)), constant_values=1) - ops.pad(above, ((0, 0), (0, 1)))

    def finish(self, outputs: Any) -> tuple[Any, Any]:
        import keras

        count = self.averaged
        # The constraint keeps the kernel at 1, so that only the thresholds differ.
        layer = keras.layers.Dense(
            count, activation="sigmoid", kernel_constraint=keras.constraints.UnitNorm(), name="probs_above"
        )
        above = layer(outputs)
        share = np.clip(self.encode(self.training).mean(axis=0), 1e-3, 1 - 1e-3)
        layer.set_weights([np.ones((1, count)), np.log(share / (1 - share))])
        classes = keras.layers.Dense(count + 1, activation="relu", name="of_classes", trainable=False)
        probabilities = classes(above)
        classes.set_weights([np.eye(count, count + 1, 1) - np.eye(count, count + 1), np.eye(1, count + 1)[0]])
        return above, probabilities

    def as_trained(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return 1 - np.cumsum(outputs, axis=1)[:, :-1]

    def loss(self, stage: Stage) -> Any:
        return losses.label_loss()

    def metrics(self) -> list[Any]:
        import keras

        def is_right(y_true: Any, y_pred: Any) -> Any:
            classes = (keras.ops.argmax(self._of_classes(above, keras.ops), axis=-1) for above in (y_true, y_pred))
            return keras.ops.equal(*classes)

        return [keras.metrics.MeanMetricWrapper(is_right, self.metric)]

    def measure(self, kept: NDArray[Any], rows: Rows) -> dict[str, float]:
        distance = np.abs(self._of_classes(kept).argmax(axis=1) - self.targets.values[rows])
        likelihoods = losses.log_likelihood(kept.astype(np.float64), self.encode(rows) > 0)
        return {
            "loss": self.mean(-likelihoods, rows),
            self.metric: self.mean(distance == 0, rows),
            self.score: self.mean(distance, rows),
        }

    def quality(self, row: Mapping[str, Any]) -> tuple[float, float]:
        return -row[f"val_{self.score}"], -row["val_loss"]


_KINDS: Mapping[str, type[Objective]] = {
    "classes": OfClasses,
    "labels": OfLabels,
    "values": OfValues,
    "ordinal": OfOrdinal,
}


def objective(data: Data, recipe: Recipe, balance: bool = False) -> Objective:
    """Return the objective for the targets of the data.

    Raises:
        ValueError: The recipe's loss, or balance of classes, are not for such targets.
    """
    check(data.targets.kind, recipe, balance)
    kind = OfBalancedClasses if balance and data.targets.kind == "classes" else _KINDS[data.targets.kind]
    return kind(data, recipe, balance)


def check(kind: str, recipe: Recipe, balance: bool) -> None:
    """Check that a recipe's loss, and a balance of classes, are for targets of a kind.

    Raises:
        ValueError: They are not.
    """
    if recipe.loss is not None and recipe.loss not in LOSSES.get(kind, ()):
        accepted = " or ".join(map(repr, LOSSES.get(kind, ()))) or "no other than the usual one, null"
        raise ValueError(f"loss={recipe.loss!r}: expected {accepted} for the targets {kind!r}.")
    if balance and kind == "values":
        raise ValueError("--balance is for classes and labels, not for values: weigh images by --weight-column.")
