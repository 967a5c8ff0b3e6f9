"""The calls of a functional model's layers, in order, whichever Keras it is of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class LayerCall(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: the layer, or in Keras 3 also an operation of ``keras.ops``.
        inputs: the symbolic tensors that it takes.
        outputs: those that it gives.
    """

    layer: Any
    inputs: list[Any]
    outputs: list[Any]


def functional(model: Any) -> Any:
    """The functional model behind a model: itself, or the one that Keras 3's Sequential wraps.

    Raises:
        ValueError: it is neither, or not built yet.
    """
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth"):
        name = getattr(model, "name", None) or repr(model)
        raise ValueError(
            f"{name}, a {type(model).__name__}, has no graph of layers: expected a functional model, or a Sequential "
            "one that knows its input's shape (start it with an Input layer)."
        )
    return graph


def layer_calls(model: Any) -> Iterator[LayerCall]:
    """All calls of a functional model's own layers; a model within it is one call."""
    nodes_by_depth = functional(model)._nodes_by_depth
    # Both Keras versions keep the calls ordered by depth, with the outputs at 0.
    for depth in sorted(nodes_by_depth, reverse=True):
        for node in nodes_by_depth[depth]:
            if not node.is_input:
                layer = getattr(node, "operation", None) or node.layer
                inputs = node.input_tensors if hasattr(node, "operation") else node.keras_inputs
                outputs = node.outputs if isinstance(node.outputs, (list, tuple)) else [node.outputs]
                yield LayerCall(layer, list(inputs), list(outputs))
