"""Convolutions of one, two and three dimensions, and dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import activate
from .writer import Value, Writer, unsupported, weights_of


def convolution(writer: Writer, layer: Any, x: Value) -> Value:
    """Write Conv1D to Conv3D, whose kernel is (height, width, inputs / groups, outputs)."""
    weights = weights_of(layer, "kernel", "bias")
    kernel = np.moveaxis(weights["kernel"], (-1, -2), (0, 1))
    return activate(writer, layer, _convolve(writer, layer, x, kernel, layer.groups, weights))


def depthwise_convolution(writer: Writer, layer: Any, x: Value) -> Value:
    """Write DepthwiseConv1D and 2D, whose kernel is (height, width, inputs, multiplier)."""
    weights = weights_of(layer, "kernel", "bias")
    return activate(writer, layer, _depthwise(writer, layer, x, weights))


def separable_convolution(writer: Writer, layer: Any, x: Value) -> Value:
    """Write SeparableConv1D and 2D: a depthwise convolution, then one of one pixel."""
    weights = weights_of(layer, "kernel", "pointwise_kernel", "bias")
    x = _depthwise(writer, layer, x, {"kernel": weights["kernel"]})
    kernel = np.moveaxis(weights["pointwise_kernel"], (-1, -2), (0, 1))
    return activate(writer, layer, writer.write("Conv", x, *_operands(writer, kernel, weights)))


def transposed_convolution(writer: Writer, layer: Any, x: Value) -> Value:
    """Write Conv1DTranspose to Conv3DTranspose, whose kernel is (height, width, outputs, inputs)."""
    weights = weights_of(layer, "kernel", "bias")
    kernel = weights["kernel"]
    rank = kernel.ndim - 2
    if getattr(layer, "groups", 1) != 1:
        raise unsupported(layer, "has groups")
    given = each(layer.output_padding, rank)
    begins, ends, more = [], [], []
    for size, stride, dilation, extra in zip(
        kernel.shape, each(layer.strides, rank), each(layer.dilation_rate, rank), given, strict=False
    ):
        reach = (size - 1) * dilation + 1
        if layer.padding.lower() == "valid":
            cut = min(reach - stride, 0) if extra is None else -extra
        else:
            cut = reach - stride if extra is None else 2 * (reach // 2) - extra
        # So much shorter is Keras' result than what the kernel reaches, or longer.
        begins.append(max(cut, 0) // 2)
        ends.append(max(cut, 0) - begins[-1])
        more.append(max(-cut, 0))
    x = writer.write(
        "ConvTranspose", writer.channels_second(x, layer.data_format),
        *_operands(writer, np.moveaxis(kernel, (-1, -2), (0, 1)), weights),
        kernel_shape=kernel.shape[:rank], strides=each(layer.strides, rank),
        dilations=each(layer.dilation_rate, rank), pads=[*begins, *ends], output_padding=more,
    )  # fmt: skip
    return activate(writer, layer, x)


def dense(writer: Writer, layer: Any, x: Value) -> Value:
    """Write a matrix product over the last axis."""
    weights = weights_of(layer, "kernel", "bias")
    x = writer.write("MatMul", writer.natural(x), writer.floats(weights["kernel"], "kernel"))
    if "bias" in weights:
        x = writer.write("Add", x, writer.floats(weights["bias"], "bias"))
    return activate(writer, layer, x)


def padding(kind: str, sides: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> dict[str, Any]:
    """Return Keras' padding of a window with these sides, for ONNX; the odd pixel goes to the bottom and right."""
    kind = kind.lower()
    if kind == "valid":
        return {"auto_pad": "VALID"}
    reaches = [dilation * (side - 1) for dilation, side in zip(dilations, sides, strict=True)]
    if kind == "causal":
        return {"pads": [*reaches, *(0 for _ in reaches)]}
    if max(strides) > 1:
        return {"auto_pad": "SAME_UPPER"}  # how much it is depends on the image's size
    # Without a stride it does not; and of dilated convolutions ONNX Runtime takes it only in numbers.
    before = [total // 2 for total in reaches]
    return {"pads": [*before, *(total - half for total, half in zip(reaches, before, strict=True))]}


def _depthwise(writer: Writer, layer: Any, x: Value, weights: dict[str, np.ndarray]) -> Value:
    *sides, inputs, multiplier = weights["kernel"].shape
    kernel = np.moveaxis(weights["kernel"], (-2, -1), (0, 1)).reshape(inputs * multiplier, 1, *sides)
    return _convolve(writer, layer, x, kernel, inputs, weights)


def _convolve(
    writer: Writer, layer: Any, x: Value, kernel: np.ndarray, groups: int, weights: dict[str, np.ndarray]
) -> Value:
    sides = kernel.shape[2:]
    strides, dilations = each(layer.strides, len(sides)), each(layer.dilation_rate, len(sides))
    return writer.write(
        "Conv", writer.channels_second(x, layer.data_format), *_operands(writer, kernel, weights),
        kernel_shape=sides, strides=strides, dilations=dilations, group=groups,
        **padding(layer.padding, sides, strides, dilations),
    )  # fmt: skip


def _operands(writer: Writer, kernel: np.ndarray, weights: dict[str, np.ndarray]) -> list[Value]:
    """Write a kernel in ONNX's order, and the bias if there is one."""
    bias = [writer.floats(weights["bias"], "bias")] if "bias" in weights else []
    return [writer.floats(kernel, "kernel"), *bias]


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """Return a setting for each dimension, which Keras also takes as one for all."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank


LAYERS = {
    **{f"Conv{n}D": convolution for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": depthwise_convolution for n in (1, 2)},
    **{f"SeparableConv{n}D": separable_convolution for n in (1, 2)},
    **{f"Conv{n}DTranspose": transposed_convolution for n in (1, 2, 3)},
    "Dense": dense,
}
