"""Checks for impossible weights: not finite, or a variance below zero.

With such weights some runtimes compute plausible numbers: a clamp, as ReLU6 has it, makes a number of NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def check_array(name: str, array: Any, where: object) -> None:
    """Check that the numbers of a weight are finite, and those of a variance not negative.

    Args:
        name: Name of the weight: ``"stem_bn/moving_variance"``.
        array: Numbers of the weight.
        where: File or model, for the message.

    Raises:
        ValueError: A number is NaN or infinite, or a variance is negative.
    """
    array = np.asarray(array)
    if array.dtype.kind != "f" or not array.size:
        return
    lowest, highest = float(array.min()), float(array.max())  # NaN where any number is
    if not np.isfinite(lowest - highest) and not np.isfinite(array).all():
        raise ValueError(
            f"{where}: {name} has NaN or infinite numbers, so that the network cannot compute anything. Take an "
            "earlier checkpoint, or train it again with a lower learning rate."
        )
    if lowest < 0 and name.rpartition("/")[2].partition(":")[0].endswith("variance"):
        raise ValueError(
            f"{where}: {name} has negative numbers, down to {lowest:.3g}, which no variance is. The file is damaged, "
            "or its arrays are named wrongly: take another copy."
        )


def check_model(model: Any, where: object) -> Any:
    """Check all weights of a Keras model with :func:`check_array`, and return the model.

    Args:
        model: Keras model.
        where: File or name of the model, for the message.

    Raises:
        ValueError: A number is NaN or infinite, or a variance is negative.
    """
    for weight, array in zip(model.weights, model.get_weights(), strict=True):
        check_array(getattr(weight, "path", weight.name), array, where)
    return model
