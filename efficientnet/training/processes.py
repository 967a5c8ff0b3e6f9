"""The interface of the processes that share a training, and its implementation for one process."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .batches import Batch


class Processes(Protocol):
    """The processes of a training. The batches do not depend on their number.

    Attributes:
        rank: Index of this process, from 0; 0 alone writes.

    Example:
        >>> processes: Processes = OneProcess()
        >>> processes.share(32)
        slice(0, 32, None)
    """

    rank: int

    def share(self, size: int) -> slice:
        """Return this process' rows of a batch of this number of images; all processes together have all rows."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are built and trained."""

    def prepare(self, network: Any) -> None:
        """Prepare a network that is compiled and has its weights, before its first step."""

    def step(self, network: Any, batch: Batch) -> dict[str, float]:
        """Train on this process' share of a batch, with gradients averaged over the whole batch.

        Returns:
            The loss and the metric of the whole batch, by their names.
        """

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's outputs for images that each process has."""

    def any(self, flag: bool) -> bool:
        """Return whether a flag is true in any process; all call it at the same step."""


class OneProcess:
    """A training in one process.

    Example:
        >>> OneProcess().rank
        0
    """

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
