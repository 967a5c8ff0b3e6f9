"""What a naming table is made of: for each array of a network, what others call it and how they lay it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...family.arrays import Layer
from ...family.variants import Variant
from ..arrays import Stored

Shape = tuple[int, ...]


class Entry(NamedTuple):
    """One array under both names.

    Attributes:
        theirs: Name of the array in their file.
        their_shape: Shape of the array in their file.
        ours: Layer and role in our model, ``"block1a_dwconv/kernel"``.
        shape: Shape of the array in our model.
        view: Shape that their array is first reshaped to.
        axes: Order of axes that it is then transposed to, before it is reshaped to ``shape``.
    """

    theirs: str
    their_shape: Shape
    ours: str
    shape: Shape
    view: Shape
    axes: Shape

    def to_ours(self, stored: Stored) -> Stored:
        """Return their array in our layout."""
        if self.view == self.shape == stored.shape:
            return stored
        return stored.rearranged(self.view, self.axes, self.shape)

    def to_theirs(self, stored: Stored) -> Stored:
        """Return our array in their layout."""
        if self.view == self.shape == self.their_shape:
            return stored
        view = tuple(self.view[axis] for axis in self.axes)
        return stored.rearranged(view, tuple(int(axis) for axis in np.argsort(self.axes)), self.their_shape)


def same(theirs: str, ours: str, shape: Shape) -> Entry:
    """Return the entry of an array that both lay out alike."""
    return Entry(theirs, shape, ours, shape, shape, tuple(range(len(shape))))


def transposed(theirs: str, ours: str, shape: Shape, axes: Shape) -> Entry:
    """Return the entry of an array whose axes they have in another order: ours are their ``axes``."""
    view = tuple(shape[axis] for axis in np.argsort(axes))
    return Entry(theirs, view, ours, shape, view, axes)


def _as_it_is(name: str) -> str:
    return name


def _behind(before: str, name: str) -> str | None:
    return name.removeprefix(before) if name.startswith(before) else None


def _of_the_variant(variant: Variant) -> float:
    return variant.batch_norm_epsilon


@dataclass(frozen=True)
class Origin:
    """A package or project whose names a file may have.

    Attributes:
        name: Name for options and messages: ``"timm"``.
        landmark: Pattern of the whole name of an array that every file of this origin has. The match of its group
            ``before`` stands before all names of that network: ``"encoder."`` if it is a part of something larger.
        body: Pattern of names behind ``before``: arrays that only a network of this origin has before its classifier.
            One without a place in a variant shows that the file is not of this variant.
        entries: Function that yields the table for the layers of a network.
        within: Function from what stands ``before`` and a name in the file to the name in the network; None if the
            network has no such array.
        normalize: Function that removes from a name what differs between files, before it is looked up.
        ignored: Pattern of the names of arrays that have no place in a model that predicts.
        padding: Padding of the networks that this origin trained.
        epsilon: Function from a variant to the epsilon of their batch norms.
    """

    name: str
    landmark: re.Pattern[str]
    body: re.Pattern[str]
    entries: Callable[[Sequence[Layer]], Iterator[Entry]]
    within: Callable[[str, str], str | None] = _behind
    normalize: Callable[[str], str] = _as_it_is
    ignored: re.Pattern[str] | None = None
    padding: str = "same"
    epsilon: Callable[[Variant], float] = _of_the_variant
