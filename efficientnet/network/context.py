"""The context of every part of a network: one Keras, one variant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..family.variants import Variant


class Framework(NamedTuple):
    """The modules of one Keras."""

    backend: Any
    layers: Any
    models: Any
    utils: Any


class Graph(NamedTuple):
    """The context of every part of the graph.

    ``call(layer, x)`` calls a new layer for the first time; see :func:`call_drawing_weights`.
    """

    variant: Variant
    keras: Framework
    channel_axis: int
    call: Callable[[Any, Any], Any]
