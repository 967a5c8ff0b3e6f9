"""Occlusion sensitivity: how much an output drops when a part of the image is hidden."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..model_io.spec import InputSpec

# The side of the hidden square as a part of the image's, and the number of its places along each side.
_SQUARE, _PLACES = 1 / 5, 14


class Occlusion:
    """Evidence of one image by hiding its parts (Zeiler & Fergus, arXiv 1311.2901, section 4.2)."""

    def __init__(
        self,
        outputs_of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        spec: InputSpec,
        image: NDArray[np.float32],
    ) -> None:
        """Predict the image with a square of its mean color at each place of a grid.

        Args:
            outputs_of: The model as a function of a batch of images such as ``image``, which returns (batch, outputs).
            spec: Its spec.
            image: Image as ``InputSpec.image`` returns it, of pixels 0..255.
        """
        axes = (0, 1) if spec.channels_last else (1, 2)
        self._sides = tuple(image.shape[axis] for axis in axes)
        mean = image.mean(axis=axes, keepdims=True)
        self._windows = [
            [_window(side, place) for place in range(_PLACES)] for side in self._sides
        ]  # fmt: skip

        def hidden(rows: slice, columns: slice) -> NDArray[np.float32]:
            copy = image.copy()
            copy[(rows, columns) if spec.channels_last else (slice(None), rows, columns)] = mean
            return copy

        def predict(images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
            """Predict batches that are all of one size, so that Keras compiles the model once."""
            return outputs_of(np.stack(images)).astype(np.float32, copy=False)

        self.outputs = predict([image] * _PLACES)[0]
        self._drops = self.outputs - np.stack([
            predict([hidden(rows, columns) for columns in self._windows[1]]) for rows in self._windows[0]
        ])  # fmt: skip

    def of_class(self, index: int) -> NDArray[np.float32]:
        """Return for each pixel the mean drop of the output over the squares that hide it, (height, width)."""
        total, count = np.zeros(self._sides), np.zeros(self._sides)
        for rows, drops in zip(self._windows[0], self._drops[..., index], strict=True):
            for columns, drop in zip(self._windows[1], drops, strict=True):
                total[rows, columns] += drop
                count[rows, columns] += 1
        return (total / np.maximum(1, count)).astype(np.float32)


def _window(side: int, place: int) -> slice:
    """Return the pixels along one side that a square hides: the first place is at its start, the last at its end."""
    length = max(1, round(side * _SQUARE))
    start = round((side - length) * place / (_PLACES - 1))
    return slice(start, start + length)
