"""A step of a training, an epoch's validation, and the plain training of one model that is made of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DivergedError
from ..network.backends import import_keras
from .batches import Batch, Batches, validation_batches
from .processes import OneProcess, Processes
from .stages import compile_network


def fit(
    model: Any, batches: Batches, report: Callable[[int, float], None] | None = None, jit_compile: bool | str = "auto"
) -> float:
    """Train a model on a stage's batches by their recipe, in this process and without a folder.

    Args:
        model: Keras model from (batch, size, size, 3) raw pixels 0..255 to (batch, classes) probabilities.
        batches: Batches of a stage that trains the whole model.
        report: Function that takes each epoch, from 1, and its validation accuracy; it may raise to stop.
        jit_compile: Argument of ``keras.Model.compile``.

    Returns:
        Top-1 accuracy on the validation images after the last epoch, 0..1.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    processes, steps = OneProcess(), batches.steps
    compile_network(model, batches.objective, batches.stage, steps, jit_compile=jit_compile)
    accuracy = math.nan
    with contextlib.closing(batches.from_step(0, batches.stage.epochs * steps)) as stream:
        for step, batch in enumerate(stream):
            epoch = step // steps + 1
            if not math.isfinite(take_step(model, batches, step, batch, processes)["loss"]):
                raise DivergedError(f"The loss is no longer finite in epoch {epoch}: lower the learning rate.")
            if (step + 1) % steps == 0:
                accuracy = batches.objective.measure(*validate(model, batches, processes))["accuracy"]
                if report is not None:
                    report(epoch, accuracy)
    return accuracy


def take_step(network: Any, batches: Batches, step: int, batch: Batch, processes: Processes) -> dict[str, float]:
    """Train a compiled network on the batch of a step of the stage, in parts, and return its loss and metric.

    On PyTorch, where Keras' dropout draws from the global generator, the step seeds it, so that what it draws depends
    on the step alone. The other backends have their random states among the network's variables.
    """
    if import_keras().backend.backend() == "torch":
        import torch

        torch.manual_seed(batches.step_seed(step, processes.rank))
    logs = [processes.step(network, part) for part in batch.split(batches.parts)]
    return {name: sum(each[name] for each in logs) / len(logs) for name in logs[0]}


class Validation(NamedTuple):
    """Outputs for the validation images, as the objective keeps them, and the indices of these images."""

    kept: NDArray[Any]
    rows: NDArray[np.integer[Any]]


def validate(network: Any, batches: Batches, processes: Processes) -> Validation:
    """Return what the objective needs to measure the network on the validation images."""
    kept, rows = [], []
    for inputs, indices in _validation(batches):
        outputs = predict(network, inputs, batches.size_of_part, processes)
        kept.append(batches.objective.keep(outputs, indices))
        rows.append(indices)
    return Validation(np.concatenate(kept), np.concatenate(rows))


def _validation(batches: Batches) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    data = batches.data
    if batches.features is None:
        yield from validation_batches(data, batches.stage.image_size, batches.size_of_part)
    else:
        yield batches.features[data.validation], data.validation


def predict(network: Any, inputs: NDArray[Any], size: int, processes: Processes) -> NDArray[np.float32]:
    """Return a network's outputs. Fewer inputs than ``size`` are filled up: TensorFlow traces anew for each number."""
    count = len(inputs)
    filling = np.zeros((max(0, size - count), *inputs.shape[1:]), inputs.dtype)
    return processes.predict(network, np.concatenate([inputs, filling]))[:count]
