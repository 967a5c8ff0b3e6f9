"""What is to be predicted for each image of a data set, by kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..common.text import notify, plain

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Targets:
    """Targets of the images of a data set; a subclass for each kind.

    Attributes:
        names: Names of the outputs, in their order.
        values: The targets, (images,) or (images, outputs).
    """

    kind: ClassVar[str]
    what: ClassVar[str]  # what the names are of, plural

    names: list[str]
    values: NDArray[Any]

    def take(self, rows: Rows) -> Targets:
        """Return the targets of these images."""
        return dataclasses.replace(self, values=self.values[rows])

    def reordered(self, names: Sequence[str]) -> Targets:
        """Return the same targets with the outputs in this order of names."""
        raise NotImplementedError

    def content(self) -> bytes:
        """Return the bytes that identify the targets."""
        return self.values.tobytes()

    def text(self, row: int) -> str:
        """Return an image's target as a table has it."""
        raise NotImplementedError

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        """Check that these images can be learnt from and validated with; ``name`` is that of the data set.

        Raises:
            ValueError: They cannot.
        """
        raise NotImplementedError

    def describe(self, training: Rows) -> str:
        """Return a text on the outputs, and how unevenly the training images are spread over them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classes(Targets):
    """One class for each image: ``values`` are the indices of the classes, (images,)."""

    kind = "classes"
    what = "classes"

    def reordered(self, names: Sequence[str]) -> Classes:
        places = np.array([list(names).index(name) for name in self.names])
        return dataclasses.replace(self, names=list(names), values=places[self.values])

    def content(self) -> bytes:
        return self.values.astype(np.int64).tobytes()

    def text(self, row: int) -> str:
        return self.names[int(self.values[row])]

    def counts(self, rows: Rows) -> NDArray[np.integer[Any]]:
        """Return the number of these images in each class, (classes,)."""
        return np.bincount(self.values[rows], minlength=len(self.names))

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        if len(self.names) < 2:
            raise ValueError(f"{name} has {len(self.names)} class: expected at least 2 to distinguish.")
        if lacking := _lacking(self.names, self.counts(training)):
            raise ValueError(f"No readable images to train on in {lacking}: add some, or lower --validation.")
        if len(validation) and (lacking := _lacking(self.names, self.counts(validation))):
            notify(f"no images to validate in {plain(lacking)}: the accuracy leaves them out")

    def describe(self, training: Rows) -> str:
        counts = self.counts(training)
        return f"{len(self.names)} classes" + _imbalance(self.names, counts)


def _lacking(names: Sequence[str], counts: NDArray[Any]) -> str:
    """Return the names without an image, with commas between them."""
    return ", ".join(name for name, count in zip(names, counts, strict=True) if not count)


def _imbalance(names: Sequence[str], counts: NDArray[Any]) -> str:
    order = np.argsort(counts, kind="stable")
    fewest, most = int(order[0]), int(order[-1])
    if counts[most] <= 2 * max(1, counts[fewest]):
        return ""
    return (
        f"\nunbalanced: {counts[fewest]} images of {names[fewest]}, {counts[most]} of {names[most]}; --class-weights "
        "makes all classes count equally"
    )
