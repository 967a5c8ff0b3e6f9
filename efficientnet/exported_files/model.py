"""What an exported model takes and gives, whatever its runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Tensor(NamedTuple):
    """Input or output of an exported model.

    Attributes:
        name: Name of the tensor.
        dtype: Type of its numbers, as NumPy calls it; the runtime's own name for others.
        shape: Length of each axis; None for any.
        quantization: Scale and zero point of whole numbers that stand for others: number = scale * (whole - zero
            point); None for numbers that stand for themselves.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    quantization: tuple[float, int] | None = None

    def __str__(self) -> str:
        sides = ", ".join("any" if side is None else str(side) for side in self.shape)
        return f"{self.name!r}: {self.dtype} ({sides})"

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """Return numbers in the type of this tensor: rounded where it holds whole ones."""
        dtype = np.dtype(self.dtype)
        if self.quantization is not None:
            scale, zero = self.quantization
            batch = batch / np.float32(scale) + np.float32(zero)
        if dtype.kind != "f" and batch.dtype != dtype:
            limits = np.iinfo(dtype)
            batch = np.rint(batch).clip(limits.min, limits.max)
        return batch.astype(dtype, copy=False)

    def decode(self, values: Any) -> np.ndarray:
        """Return what this tensor holds as the numbers that it stands for, float32."""
        numbers = np.asarray(values).astype(np.float32, copy=False)
        if self.quantization is None:
            return numbers
        scale, zero = self.quantization
        return (numbers - np.float32(zero)) * np.float32(scale)


class Ports(NamedTuple):
    """Inputs and outputs of an exported model.

    Attributes:
        inputs, outputs: Its inputs and outputs.
        activation: Function that returns the last activation of the first output, as Keras calls it; "unknown" if the
            graph does not say.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    activation: Callable[[], str]


class ExportedModel(NamedTuple):
    """Exported model in its runtime.

    Attributes:
        ports: Its inputs and outputs.
        run: Function from a batch for the first input, of numbers of any type, to all outputs, float32, in the order of
            the ports. Many threads may call it.
    """

    ports: Ports
    run: Callable[[np.ndarray], list[np.ndarray]]

    def ordered(self, names: Sequence[str]) -> ExportedModel:
        """Return the model with its outputs in the order of these names.

        Raises:
            ValueError: They are not the names of its outputs.
        """
        places = places_of(names, self.ports)

        def run(batch: np.ndarray) -> list[np.ndarray]:
            found = self.run(batch)
            return [found[place] for place in places]

        outputs = tuple(self.ports.outputs[place] for place in places)
        return ExportedModel(self.ports._replace(outputs=outputs), run)


def places_of(names: Sequence[str], ports: Ports) -> list[int]:
    """Return the places of outputs with these names among all outputs.

    Raises:
        ValueError: They are not the names of the outputs.
    """
    own = [output.name for output in ports.outputs]
    if sorted(own) != sorted(names):
        raise ValueError(f"its outputs are called {', '.join(own)}, and not {', '.join(names)}")
    return [own.index(name) for name in names]
