"""Losses that Keras does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-7  # probability whose logarithm is taken, as in Keras' own losses
# As in arXiv 2009.14119, section 2.4 and table 1. Negatives whose probability is below the margin do not count. What a
# probability exceeds the margin by counts to the fourth power. Positives count as in binary cross-entropy.
_MARGIN, _FOCUS = 0.05, 4


def label_loss(is_asymmetric: bool = False, weights: NDArray[np.float32] | None = None) -> Any:
    """Build a Keras loss of labels: the mean over the labels of binary cross-entropy, or of the asymmetric loss.

    Args:
        is_asymmetric: Whether to take the asymmetric loss (arXiv 2009.14119).
        weights: Weights of images without each label, and of those with it, (2, labels); None if all count equally.
    """
    import keras

    ops = keras.ops

    class LabelLoss(keras.losses.Loss):  # type: ignore[misc]
        """From (batch, labels) of 0..1 and probabilities to (batch,)."""

        def call(self, y_true: Any, y_pred: Any) -> Any:
            found = ops.clip(y_pred, _LEAST, 1 - _LEAST)
            positive, negative = y_true * ops.log(found), 1 - y_true
            if is_asymmetric:
                shifted = ops.relu(found - _MARGIN)
                negative *= shifted**_FOCUS * ops.log(1 - shifted)
            else:
                negative *= ops.log(1 - found)
            if weights is not None:
                without, having = (ops.convert_to_tensor(each) for each in weights)
                negative, positive = negative * without, positive * having
            return -ops.mean(positive + negative, axis=-1)

    return LabelLoss(name="label_loss")


def balanced_loss(shares: NDArray[np.floating[Any]], label_smoothing: float) -> Any:
    """Build a Keras loss under which a network predicts as if all classes were equally frequent.

    The probabilities are multiplied by the shares of the classes before the cross-entropy is taken (logit adjustment,
    arXiv 2007.07314, equation 10), so the network itself need not learn which classes are frequent.

    Args:
        shares: Share of the training images in each class, (classes,).
        label_smoothing: Share of the target that is spread over all classes.
    """
    import keras

    ops = keras.ops

    class BalancedLoss(keras.losses.Loss):  # type: ignore[misc]
        """From (batch, classes) of targets and probabilities to (batch,)."""

        def call(self, y_true: Any, y_pred: Any) -> Any:
            adjusted = ops.clip(y_pred, _LEAST, 1.0) * ops.convert_to_tensor(shares, y_pred.dtype)
            adjusted = adjusted / ops.sum(adjusted, axis=-1, keepdims=True)
            return keras.losses.categorical_crossentropy(y_true, adjusted, label_smoothing=label_smoothing)

    return BalancedLoss(name="balanced_loss")


def balanced_weights(
    labels: NDArray[np.integer[Any]], classes: int, image_weights: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Return weights that make classes count equally: images / (classes x images of the class), (classes,).

    Args:
        labels: (images,), index of each image's class.
        classes: Number of classes.
        image_weights: (images,), weight by which each image counts.
    """
    counts = np.bincount(labels, image_weights, classes)
    weights: NDArray[np.float32] = (counts.sum() / (classes * np.where(counts > 0, counts, 1))).astype(np.float32)
    return weights


def log_likelihood(scores: NDArray[Any], truth: NDArray[np.bool_] | bool = True) -> NDArray[Any]:
    """Return the logarithm of the probability that each score gives to its truth."""
    likelihood: NDArray[Any] = np.log(np.maximum(np.where(truth, scores, 1 - scores), _LEAST))
    return likelihood
