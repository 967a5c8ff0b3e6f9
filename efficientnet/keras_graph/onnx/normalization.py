"""Normalization, and other scaling of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..fold import batch_norm_as_scaling
from .writer import Value, Writer, unsupported, weights_of


def scale(writer: Writer, x: Value, factor: Any, offset: Any) -> Value:
    """Multiply by numbers and add numbers that can be broadcast with the value in Keras."""
    if x.rank == 4 and any(np.shape(value)[-1:] > (1,) for value in (factor, offset)):
        # With the channels second a runtime computes a whole map at a time; of three channels last, three numbers.
        x = writer.channels_second(x, "channels_last")
    return writer.combine("Add", writer.combine("Mul", x, np.asarray(factor)), np.asarray(offset))


def unit_length(writer: Writer, x: Value, axes: Sequence[int], epsilon: float = 1e-12) -> Value:
    """Write x over its Euclidean length along these axes."""
    squares = writer.reduce("ReduceSum", writer.combine("Mul", x, x), axes)
    return writer.combine("Div", x, writer.write("Sqrt", writer.combine("Max", squares, epsilon)))


def standardize(writer: Writer, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """Write x less its mean, over its standard deviation along these axes."""
    centered = writer.combine("Sub", x, writer.reduce("ReduceMean", x, axes))
    return writer.combine("Div", centered, _root_mean_square(writer, centered, axes, epsilon))


def _root_mean_square(writer: Writer, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    variance = writer.reduce("ReduceMean", writer.combine("Mul", x, x), axes)
    return writer.write("Sqrt", writer.combine("Add", variance, epsilon))


def _along(value: np.ndarray, axes: Sequence[int], rank: int) -> np.ndarray:
    """Return numbers for these axes, in ascending order, with a one for each of the others."""
    places = sorted(axis % rank for axis in axes)
    sides = dict(zip(places, value.shape, strict=True))
    return value.reshape([sides.get(place, 1) for place in range(rank)])


def _batch_norm(writer: Writer, layer: Any, x: Value) -> Value:
    axis, factor, offset = batch_norm_as_scaling(layer, x.rank)
    return scale(writer, x, _along(factor, [axis], x.rank), _along(offset, [axis], x.rank))


def _layer_norm(writer: Writer, layer: Any, x: Value) -> Value:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    weights = weights_of(layer, "gamma", "beta")
    if getattr(layer, "rms_scaling", False):
        raise unsupported(layer, "scales by the root mean square")
    x = standardize(writer, x, axes, layer.epsilon)
    if "gamma" in weights:
        x = writer.combine("Mul", x, _along(weights["gamma"], axes, x.rank))
    return writer.combine("Add", x, _along(weights["beta"], axes, x.rank)) if "beta" in weights else x


def _rms_norm(writer: Writer, layer: Any, x: Value) -> Value:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    x = writer.combine("Div", x, _root_mean_square(writer, x, axes, layer.epsilon))
    return writer.combine("Mul", x, _along(weights_of(layer, "scale")["scale"], axes, x.rank))


def _group_norm(writer: Writer, layer: Any, x: Value) -> Value:
    axis = layer.axis % x.rank
    if axis not in (1, x.rank - 1):
        raise unsupported(layer, f"normalizes axis {layer.axis}")
    weights = weights_of(layer, "gamma", "beta")
    second = writer.channels_second(x, "channels_first" if axis == 1 else "channels_last")
    grouped = writer.write("Reshape", second, writer.integers([0, layer.groups, -1], "groups"), rank=3)
    whole = standardize(writer, grouped._replace(moved=False), [2], layer.epsilon)
    sizes = writer.write("Shape", second)
    normal = writer.write("Reshape", whole, sizes, rank=x.rank)._replace(moved=second.moved)
    if "gamma" in weights:
        normal = writer.combine("Mul", normal, _along(weights["gamma"], [axis], x.rank))
    return writer.combine("Add", normal, _along(weights["beta"], [axis], x.rank)) if "beta" in weights else normal


def _unit_norm(writer: Writer, layer: Any, x: Value) -> Value:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return unit_length(writer, x, axes)


def _normalization(writer: Writer, layer: Any, x: Value) -> Value:
    mean = np.asarray(_numbers(layer.mean), np.float64)
    deviation = np.maximum(np.sqrt(np.asarray(_numbers(layer.variance), np.float64)), 1e-7)  # Keras' epsilon
    if layer.invert:
        return scale(writer, x, deviation, mean)
    return scale(writer, x, 1 / deviation, -mean / deviation)


def _numbers(tensor: Any) -> np.ndarray:
    """Return a tensor of any of Keras' backends as numbers."""
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def _rescaling(writer: Writer, layer: Any, x: Value) -> Value:
    factor = np.asarray(layer.scale)
    if factor.ndim and _is_channels_first(layer):
        factor = factor.reshape(*factor.shape, *(1,) * (3 - factor.ndim))
    return scale(writer, x, factor, layer.offset)


def _is_channels_first(layer: Any) -> bool:
    """Return whether a layer goes by Keras 3's order of channels for all layers, and that has the channels first."""
    if not type(layer).__module__.startswith("keras."):
        return False
    import keras

    return bool(keras.config.image_data_format() == "channels_first")


LAYERS: dict[str, Callable[[Writer, Any, Value], Value]] = {
    "BatchNormalization": _batch_norm,
    "SyncBatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "UnitNormalization": _unit_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
}
