"""What every reader of a format returns."""

from __future__ import annotations

from typing import NamedTuple

from .arrays import Stored
from .facts import Facts


class StoredWeights(NamedTuple):
    """The content of a file of weights.

    Attributes:
        format: Format of the file, in words: ``"safetensors"``.
        arrays: Arrays under their names in the file, in its order.
        averaged: Whether the arrays are moving averages, which the file keeps beside the weights themselves.
        layers: Names of all layers in the file, those without arrays too; empty if the file has no list.
        facts: Further facts of the network in the file.
    """

    format: str
    arrays: dict[str, Stored]
    averaged: bool = False
    layers: tuple[str, ...] = ()
    facts: Facts = Facts()
