"""What the loop asks of those that share a training, and how one process alone answers."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .inputs import Batch


class Processes(Protocol):
    """How the processes of a training work together. The batches are the same however many there are.

    Attributes:
        rank: Which one this is, from 0; 0 alone writes.
    """

    rank: int

    def share(self, size: int) -> slice:
        """This process' rows of a batch of so many images; all processes' together are all of them."""

    def scope(self) -> AbstractContextManager[Any]:
        """In which networks are built and stepped."""

    def prepare(self, network: Any) -> None:
        """Is told each network after it was compiled, and its weights set, before its first step."""

    def step(self, network: Any, batch: Batch) -> dict[str, float]:
        """Train on this process' share of a batch, gradients averaged over all of the batch.

        Returns:
            "loss" and "accuracy" of all of the batch.
        """

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's answers to images that each process has."""

    def any(self, flag: bool) -> bool:
        """Return whether a flag is true in any process; all call it at the same step."""


class OneProcess:
    """A training in one process."""

    rank = 0

    def share(self, size: int) -> slice:
        return slice(0, size)

    def scope(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def prepare(self, network: Any) -> None:
        pass

    def step(self, network: Any, batch: Batch) -> dict[str, float]:
        logs = network.train_on_batch(batch.pixels, batch.targets, sample_weight=batch.weights, return_dict=True)
        return {key: float(value) for key, value in logs.items()}

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network.predict_on_batch(pixels))

    def any(self, flag: bool) -> bool:
        return flag
