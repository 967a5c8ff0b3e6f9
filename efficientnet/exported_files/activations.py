"""The last activation of an exported model, from the operations of its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

UNKNOWN = "unknown"

# Names of operations, in small letters and without underscores -> Keras' name of the activation.
_ACTIVATIONS = {
    "softmax": "softmax", "sigmoid": "sigmoid", "logistic": "sigmoid", "hardsigmoid": "hard_sigmoid",
    "logsoftmax": "log_softmax", "relu": "relu", "tanh": "tanh", "gemm": "linear", "matmul": "linear",
    "fullyconnected": "linear", "add": "linear", "addv2": "linear", "biasadd": "linear", "conv": "linear",
    "conv2d": "linear", "convolution": "linear",
}  # fmt: skip
# Those that leave the numbers of their first input as they are.
_UNCHANGED = frozenset({
    "cast", "convert", "dequantize", "dequantizelinear", "fakequantize", "flatten", "identity", "quantize",
    "quantizelinear", "reshape", "result", "squeeze",
})  # fmt: skip
_MOST_STEPS = 20


class Operation(NamedTuple):
    """Operation of a graph.

    Attributes:
        kind: Name of its kind, as the format has it.
        source: Its first input, as the format names tensors; None without one.
    """

    kind: str
    source: Any


def last_activation(find: Callable[[Any], Operation | None], tensor: Any) -> str:
    """Return Keras' name of the activation that an output has gone through last; "unknown" for any other operation.

    Args:
        find: Function that returns the operation which a tensor comes from; None for an input of the graph.
        tensor: The output.
    """
    for _ in range(_MOST_STEPS):
        operation = None if tensor is None else find(tensor)
        if operation is None:
            break
        kind = operation.kind.lower().replace("_", "")
        if kind not in _UNCHANGED:
            return _ACTIVATIONS.get(kind, UNKNOWN)
        tensor = operation.source
    return UNKNOWN
