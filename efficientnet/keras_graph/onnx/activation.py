"""Activations: as layers, as a part of other layers, and as functions of ``keras.ops`` and TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .writer import Value, Writer, unsupported, weights_of

# Whose functions do what their names say.
_LIBRARIES = ("keras", "tf_keras", "tensorflow")


def relu(
    writer: Writer, x: Value, /, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Value:
    """Write x where it is above the threshold, at most ``max_value``; below, ``negative_slope * (x - threshold)``."""
    if threshold:
        is_above = writer.write("Greater", x, writer.floats(threshold, "threshold"))
        above = writer.write("Where", is_above, x, writer.floats(0, "zero"))
    else:
        above = writer.write("Relu", x)
    if max_value is not None:
        above = clip(writer, above, 0.0, max_value)
    if not negative_slope:
        return above
    below = writer.write("Relu", writer.combine("Sub", threshold, x))
    return writer.combine("Sub", above, writer.combine("Mul", below, negative_slope))


def leaky_relu(writer: Writer, x: Value, /, *, negative_slope: float = 0.2) -> Value:
    """Write x, or where it is negative ``negative_slope * x``."""
    return writer.write("LeakyRelu", x, alpha=float(negative_slope))


def clip(writer: Writer, x: Value, low: float, high: float) -> Value:
    """Write x between two numbers."""
    return writer.write("Clip", x, writer.floats(low, "min"), writer.floats(high, "max"))


def softmax(writer: Writer, x: Value, /, *, axis: int = -1) -> Value:
    """Write exp(x) / Σ exp(x)."""
    return writer.write("Softmax", x, axis=writer.axis(x, _one(axis)))


def log_softmax(writer: Writer, x: Value, /, *, axis: int = -1) -> Value:
    """Write the logarithm of the softmax."""
    return writer.write("LogSoftmax", x, axis=writer.axis(x, _one(axis)))


def elu(writer: Writer, x: Value, /, *, alpha: float = 1.0) -> Value:
    """Write x, or where it is negative alpha · (exp(x) - 1)."""
    return writer.write("Elu", x, alpha=float(alpha))


def celu(writer: Writer, x: Value, /, *, alpha: float = 1.0) -> Value:
    """Write max(x, 0) + min(alpha · (exp(x / alpha) - 1), 0)."""
    return writer.write("Celu", x, alpha=float(alpha))


def gelu(writer: Writer, x: Value, /, *, approximate: bool = True) -> Value:
    """Write x times the normal distribution's share below x, exact or with tanh."""
    if approximate:
        cubic = writer.combine("Add", x, writer.combine("Mul", writer.chain("Mul", [x, x, x]), 0.044715))
        inner = writer.write("Tanh", writer.combine("Mul", cubic, math.sqrt(2 / math.pi)))
    else:
        inner = writer.write("Erf", writer.combine("Div", x, math.sqrt(2)))
    return writer.combine("Mul", writer.combine("Mul", x, writer.combine("Add", inner, 1.0)), 0.5)


def silu(writer: Writer, x: Value, /) -> Value:
    """Write x times its sigmoid; ``swish`` in legacy Keras."""
    return writer.combine("Mul", x, writer.write("Sigmoid", x))


def mish(writer: Writer, x: Value, /) -> Value:
    """Write x · tanh(log(1 + exp(x)))."""
    return writer.combine("Mul", x, writer.write("Tanh", writer.write("Softplus", x)))


def hard_sigmoid(writer: Writer, x: Value, /) -> Value:
    """Write Keras 3's relu6(x + 3) / 6."""
    return writer.write("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def legacy_hard_sigmoid(writer: Writer, x: Value, /) -> Value:
    """Write legacy Keras' 0.2 · x + 0.5, between 0 and 1."""
    return writer.write("HardSigmoid", x, alpha=0.2, beta=0.5)


def hard_silu(writer: Writer, x: Value, /) -> Value:
    """Write x times its hard sigmoid; ``hard_swish``."""
    return writer.combine("Mul", x, hard_sigmoid(writer, x))


def log_sigmoid(writer: Writer, x: Value, /) -> Value:
    """Write the logarithm of the sigmoid."""
    return writer.write("Neg", writer.write("Softplus", writer.write("Neg", x)))


def hard_tanh(writer: Writer, x: Value, /) -> Value:
    """Write x between -1 and 1."""
    return clip(writer, x, -1.0, 1.0)


def relu6(writer: Writer, x: Value, /) -> Value:
    """Write x between 0 and 6."""
    return clip(writer, x, 0.0, 6.0)


def sparse_sigmoid(writer: Writer, x: Value, /) -> Value:
    """Write (x + 1) / 2, between 0 and 1."""
    return writer.write("HardSigmoid", x, alpha=0.5, beta=0.5)


def squareplus(writer: Writer, x: Value, /, *, b: float = 4) -> Value:
    """Write (x + √(x² + b)) / 2."""
    root = writer.write("Sqrt", writer.combine("Add", writer.combine("Mul", x, x), b))
    return writer.combine("Mul", writer.combine("Add", x, root), 0.5)


def tanh_shrink(writer: Writer, x: Value, /) -> Value:
    """Write x - tanh(x)."""
    return writer.combine("Sub", x, writer.write("Tanh", x))


def glu(writer: Writer, x: Value, /, *, axis: int = -1) -> Value:
    """Write the first half of the channels times the sigmoid of the second."""
    first, second = writer.write_parts(2, "Split", x, axis=writer.axis(x, axis))
    return writer.combine("Mul", first, writer.write("Sigmoid", second))


def unary(operation: str) -> Callable[[Writer, Value], Value]:
    """Return the writer of what is one operation of ONNX without settings."""

    def write(writer: Writer, x: Value, /) -> Value:
        return writer.write(operation, x)

    return write


# By Keras' names of the functions, lower case and without underscores.
FUNCTIONS: dict[str, Callable[..., Value]] = {
    "linear": lambda writer, x: x,
    "relu": relu,
    "relu6": relu6,
    "leakyrelu": leaky_relu,
    "elu": elu,
    "celu": celu,
    "selu": unary("Selu"),
    "gelu": gelu,
    "glu": glu,
    "silu": silu,
    "swish": silu,
    "mish": mish,
    "sigmoid": unary("Sigmoid"),
    "logsigmoid": log_sigmoid,
    "hardsigmoid": hard_sigmoid,
    "hardsilu": hard_silu,
    "hardswish": hard_silu,
    "hardtanh": hard_tanh,
    "sparsesigmoid": sparse_sigmoid,
    "tanh": unary("Tanh"),
    "tanhshrink": tanh_shrink,
    "softplus": unary("Softplus"),
    "softsign": unary("Softsign"),
    "squareplus": squareplus,
    "exponential": unary("Exp"),
    "softmax": softmax,
    "logsoftmax": log_softmax,
}


def activate(writer: Writer, layer: Any, x: Value) -> Value:
    """Write the activation that a layer ends in."""
    function = layer.activation
    if isinstance(getattr(type(function), "call", None), Callable):  # type: ignore[arg-type]
        write = LAYERS.get(_own_kind(function))
        if write is None:
            raise unsupported(layer, f"has the activation {function!r}, a layer that has no ONNX form here")
        return write(writer, function, x)
    name = getattr(function, "__name__", type(function).__name__)
    library = getattr(function, "__module__", "").split(".")[0]
    key = name.replace("_", "").lower()
    if library not in _LIBRARIES or key not in FUNCTIONS:
        raise unsupported(layer, f"has the activation {name!r}, which has no ONNX form here")
    if key == "hardsigmoid" and library == "tf_keras":
        return legacy_hard_sigmoid(writer, x)
    if key == "gelu":
        return gelu(writer, x, approximate=".ops." in function.__module__)  # each with another default
    return FUNCTIONS[key](writer, x)


def _own_kind(layer: Any) -> str:
    return type(layer).__name__ if type(layer).__module__.split(".")[0] in ("keras", "tf_keras") else ""


def _one(axis: Any) -> int:
    """Return a single axis, which Keras takes in a list as well."""
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1:
        raise TypeError(f"the axes {axes} and not one")
    return int(axes[0])


def _relu_layer(writer: Writer, layer: Any, x: Value) -> Value:
    slope = float(np.asarray(layer.negative_slope))
    limit = None if layer.max_value is None else float(np.asarray(layer.max_value))
    return relu(writer, x, negative_slope=slope, max_value=limit, threshold=float(np.asarray(layer.threshold)))


def _leaky_relu_layer(writer: Writer, layer: Any, x: Value) -> Value:
    slope = layer.negative_slope if hasattr(layer, "negative_slope") else layer.alpha  # legacy Keras
    return leaky_relu(writer, x, negative_slope=float(np.asarray(slope)))


def _thresholded_relu_layer(writer: Writer, layer: Any, x: Value) -> Value:
    return relu(writer, x, threshold=float(np.asarray(layer.theta)))


def _elu_layer(writer: Writer, layer: Any, x: Value) -> Value:
    return elu(writer, x, alpha=float(np.asarray(layer.alpha)))


def _prelu_layer(writer: Writer, layer: Any, x: Value) -> Value:
    slope = weights_of(layer, "alpha")["alpha"]  # without the batch's axis
    negative = writer.combine("Mul", writer.combine("Min", x, 0.0), slope)
    return writer.combine("Add", writer.write("Relu", x), negative)


def _softmax_layer(writer: Writer, layer: Any, x: Value) -> Value:
    if len(np.atleast_1d(layer.axis)) > 1:
        raise unsupported(layer, f"is over the axes {list(layer.axis)} at once")
    return softmax(writer, x, axis=layer.axis)


LAYERS: dict[str, Callable[[Writer, Any, Value], Value]] = {
    "Activation": activate,
    "ReLU": _relu_layer,
    "LeakyReLU": _leaky_relu_layer,
    "ThresholdedReLU": _thresholded_relu_layer,
    "ELU": _elu_layer,
    "PReLU": _prelu_layer,
    "Softmax": _softmax_layer,
}
