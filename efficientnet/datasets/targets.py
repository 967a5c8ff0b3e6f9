"""What is to be predicted for each image of a data set, by kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..common.text import notify, plain
from .splits import falls_below, keep_rare_labels
from .tags import join_labels

_LEAST_STEPS = 10  # steps of float32 in a standard deviation: rounding then takes at most 0.001 of R²

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Targets:
    """Targets of the images of a data set; a subclass for each kind.

    Attributes:
        names: Names of the outputs, in their order.
        values: The targets, (images,) or (images, outputs).
        weights: Weight of each image in loss and measures, (images,); None if all count equally.
    """

    kind: ClassVar[str]
    what: ClassVar[str]  # the things that are named, plural

    names: list[str]
    values: NDArray[Any]
    weights: NDArray[np.float64] | None = None

    def take(self, rows: Rows) -> Targets:
        """Return the targets of these images."""
        weights = None if self.weights is None else self.weights[rows]
        return dataclasses.replace(self, values=self.values[rows], weights=weights)

    def reordered(self, names: Sequence[str]) -> Targets:
        """Return the same targets with the outputs in this order of names."""
        raise NotImplementedError

    def joined(self, other: Targets) -> Targets:
        """Return these targets, followed by others of the same names or fewer."""
        values = np.concatenate([self.values, other.reordered(self.names).values])
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        return dataclasses.replace(self, values=values, weights=weights)

    def counted(self, rows: Rows) -> Rows:
        """Return those of these images that count: their weight is not 0."""
        return rows if self.weights is None else rows[self.weights[rows] > 0]

    @property
    def images_that_count(self) -> str:
        """What :meth:`counted` gives, in a message."""
        return "readable images" if self.weights is None else "readable images of a weight above 0"

    def split(self, digests: Sequence[bytes], fraction: float) -> NDArray[np.bool_]:
        """Return whether each image is held out, by the hashes of their contents."""
        return np.array([falls_below(digest, fraction) for digest in digests], bool)

    def counts(self, rows: Rows) -> NDArray[np.integer[Any]]:
        """Return the number of these images that there are of each output, (outputs,)."""
        return np.full(len(self.names), len(rows))

    def groups(self, rows: Rows) -> Rows:
        """Return a group of each of these images, (rows,), from 0: folds get equal shares of all groups."""
        return np.zeros(len(rows), np.int64)

    def content(self) -> bytes:
        """Return the bytes that identify the targets and their weights."""
        is_index = self.values.dtype.kind in "iu"
        values = self.values.astype(np.int64) if is_index else self.values  # the same on every platform
        return values.tobytes() + (b"" if self.weights is None else self.weights.tobytes())

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns in which a table has the targets."""
        return ["label"]

    def cells(self, row: int) -> list[str]:
        """Return what an image has in these columns."""
        raise NotImplementedError

    def text(self, row: int) -> str:
        """Return an image's target in a message."""
        return "|".join(self.cells(row))

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        """Check that these images can be learned from and validated with; ``name`` is that of the data set.

        Raises:
            ValueError: They cannot.
        """
        raise NotImplementedError

    def describe(self, training: Rows) -> str:
        """Return a text on the outputs, and how unevenly the training images are spread over them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classes(Targets):
    """One class for each image: ``values`` are the indices of the classes, (images,).

    Or the probability of each class for each image, (images, classes).
    """

    kind = "classes"
    what = "classes"

    def reordered(self, names: Sequence[str]) -> Classes:
        places = np.array([list(names).index(name) for name in self.names])
        if self.values.ndim == 1:
            return dataclasses.replace(self, names=list(names), values=places[self.values])
        values = np.zeros((len(self.values), len(names)))
        values[:, places] = self.values
        return dataclasses.replace(self, names=list(names), values=values)

    @property
    def indices(self) -> Rows:
        """Index of each image's class, or of its most probable one, (images,)."""
        return self.values if self.values.ndim == 1 else self.values.argmax(axis=1)

    def cells(self, row: int) -> list[str]:
        return [self.names[int(self.indices[row])]]

    def groups(self, rows: Rows) -> Rows:
        return self.indices[rows]

    def counts(self, rows: Rows) -> NDArray[np.integer[Any]]:
        """Return the number of these images in each class, (classes,); shares of images add up."""
        if self.values.ndim == 1:
            return np.bincount(self.values[rows], minlength=len(self.names))
        counts: NDArray[np.integer[Any]] = np.ceil(self.values[rows].sum(axis=0)).astype(int)
        return counts

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        if len(self.names) < 2:
            raise ValueError(f"{name} has {len(self.names)} class: expected at least 2 to distinguish.")
        training, validation = self.counted(training), self.counted(validation)
        if lacking := _lacking(self.names, self.counts(training)):
            raise ValueError(f"No {self.images_that_count} to train on in {lacking}: add some, or lower --validation.")
        if len(validation) and (lacking := _lacking(self.names, self.counts(validation))):
            notify(f"no images to validate in {plain(lacking)}: the accuracy leaves them out")

    def describe(self, training: Rows) -> str:
        counts = self.counts(training)
        return f"{len(self.names)} classes" + _imbalance(self.names, counts)


@dataclass(frozen=True)
class Labels(Targets):
    """Any number of labels for each image: ``values`` are True where a label applies, (images, labels)."""

    kind = "labels"
    what = "labels"

    def reordered(self, names: Sequence[str]) -> Labels:
        values = np.zeros((len(self.values), len(names)), bool)
        values[:, [list(names).index(name) for name in self.names]] = self.values
        return dataclasses.replace(self, names=list(names), values=values)

    def split(self, digests: Sequence[bytes], fraction: float) -> NDArray[np.bool_]:
        return keep_rare_labels(super().split(digests, fraction), self.values, digests)

    def groups(self, rows: Rows) -> Rows:
        """Return the rarest label of each image, or the number of labels for an image without any."""
        has = self.values[rows]
        rarest: Rows = np.where(has, self.counts(rows), len(rows) + 1).argmin(axis=1)
        return np.where(has.any(axis=1), rarest, len(self.names))

    def counts(self, rows: Rows) -> NDArray[np.integer[Any]]:
        counts: NDArray[np.integer[Any]] = self.values[rows].sum(axis=0)
        return counts

    def cells(self, row: int) -> list[str]:
        return [join_labels(name for name, applies in zip(self.names, self.values[row], strict=True) if applies)]

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        if len(self.names) < 2:
            raise ValueError(
                f"{name} has {len(self.names)} label: expected at least 2. For a single one, give the images with it "
                "and those without it as two classes, and leave out --targets labels."
            )
        training, validation = self.counted(training), self.counted(validation)
        counts = self.counts(training)
        if lacking := _lacking(self.names, counts):
            raise ValueError(
                f"No {self.images_that_count} to train on with {lacking}: add some, or take the label out."
            )
        if always := _lacking(self.names, len(training) - counts):
            notify(f"all images to train on have {plain(always)}: nothing is learned of it")
        held_out = self.counts(validation)
        if len(validation) and not held_out.any():
            raise ValueError("No image to validate with has a label: raise --validation, or lower --folds.")
        if len(validation) and (lacking := _lacking(self.names, held_out)):
            notify(f"no images to validate with {plain(lacking)}: the mean average precision leaves them out")

    def describe(self, training: Rows) -> str:
        values = self.values[training]
        text = f"{len(self.names)} labels, {values.sum() / max(1, len(values)):.2g} per image"
        if (values.sum(axis=1) == 1).all():
            text += (
                "\neach image has exactly one label: without --targets labels, they are classes that exclude each other"
            )
        return text + _imbalance(self.names, values.sum(axis=0))


@dataclass(frozen=True)
class Ordinal(Classes):
    """One class for each image, where the classes have an order: the lowest first."""

    kind = "ordinal"


@dataclass(frozen=True)
class Values(Targets):
    """Numbers for each image, (images, columns)."""

    kind = "values"
    what = "columns of numbers"

    def reordered(self, names: Sequence[str]) -> Values:
        if missing := sorted(set(names) - set(self.names)):
            raise ValueError(f"There is no column of {', '.join(missing)}: expected {', '.join(names)}.")
        values = self.values[:, [self.names.index(name) for name in names]]
        return dataclasses.replace(self, names=list(names), values=values)

    @property
    def columns(self) -> Sequence[str]:
        return self.names

    def cells(self, row: int) -> list[str]:
        return [str(value).removesuffix(".0") for value in self.values[row]]  # the fewest digits that give the number

    def check(self, name: str, training: Rows, validation: Rows) -> None:
        training, validation = self.counted(training), self.counted(validation)
        for part, rows in (("train on", training), ("validate with", validation)):
            # A single value has no spread to explain.
            if len(rows) and (constant := _lacking(self.names, np.ptp(self.values[rows], axis=0))):
                raise ValueError(
                    f"{name}: all images to {part} have the same {constant}, of which nothing can be learned: add "
                    "images with other values, change --validation or --folds, or leave the column out with --columns."
                )
        if not len(training):
            raise ValueError(f"{name} has no readable images to train on: add some, or lower --validation.")
        values = self.values[training]
        steps = np.spacing(np.abs(values).max(axis=0).astype(np.float32))
        if coarse := _lacking(self.names, values.std(axis=0) >= _LEAST_STEPS * steps):
            raise ValueError(
                f"{name}: {coarse}: the numbers are so large, and so close together, that the outputs of a network, in "
                "float32, cannot tell them apart: subtract a number near them, or leave the column out with --columns."
            )

    def describe(self, training: Rows) -> str:
        values = self.values[training]
        return ", ".join(
            f"{name} {column.min():g} to {column.max():g}" for name, column in zip(self.names, values.T, strict=True)
        )


def _lacking(names: Sequence[str], counts: NDArray[Any]) -> str:
    """Return the names without an image, with commas between them."""
    return ", ".join(name for name, count in zip(names, counts, strict=True) if not count)


def _imbalance(names: Sequence[str], counts: NDArray[Any]) -> str:
    order = np.argsort(counts, kind="stable")
    fewest, most = int(order[0]), int(order[-1])
    if counts[most] <= 2 * max(1, counts[fewest]):
        return ""
    return (
        f"\nunbalanced: {counts[fewest]} images of {names[fewest]}, {counts[most]} of {names[most]}; --balance "
        "makes all classes count equally"
    )
