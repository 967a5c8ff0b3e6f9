"""Pooling, also over all of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import UnsupportedLayerError
from .convolution import each, padding
from .shape import pad
from .writer import Value, Writer


def pool(writer: Writer, operation: str, x: Value, size: Any, strides: Any, how: str, data_format: str | None) -> Value:
    """Write ``MaxPool`` or ``AveragePool``, with the settings as Keras has them; an average leaves the padding out."""
    x = writer.channels_second(x, data_format or "channels_last")
    sides = each(size, x.rank - 2)
    steps = each(size if strides is None else strides, x.rank - 2)
    first = 2 if data_format == "channels_first" else 1
    how = how.lower()
    if operation == "AveragePool" and writer.backend == "torch" and how == "same":
        x, how = _with_edges(writer, x, sides, steps, first)
    around = padding(how, sides, steps, (1,) * len(sides))
    if how == "same" and any(side < step for side, step in zip(sides, steps, strict=True)):
        # ONNX Runtime would pad less than nothing where windows leave pixels out at the end.
        around = {"pads": [width for part in zip(*_widths(writer, sides, steps, first), strict=True) for width in part]}
    return writer.write(operation, x, kernel_shape=sides, strides=steps, **around)


def _widths(writer: Writer, sides: tuple[int, ...], steps: tuple[int, ...], first: int) -> list[tuple[int, int]]:
    """Return the padding before and after each side, the first of which is this axis of Keras'."""
    sizes = writer.input_shape[first : first + len(sides)]
    widths = []
    for size, side, step in zip(sizes, sides, steps, strict=True):
        if size is None and step > 1:
            raise UnsupportedLayerError(
                f"Layer {writer.layer!r} pads by the image's size: give the model's input a height and a width."
            )
        size = size or side
        total = max(0, (-(-size // step) - 1) * step + side - size)
        widths.append((total // 2, total - total // 2))
    return widths


def _with_edges(
    writer: Writer, x: Value, sides: tuple[int, ...], steps: tuple[int, ...], first: int
) -> tuple[Value, str]:
    """Repeat the edge where the padding is uneven, as Keras on PyTorch does, which averages over it, too."""
    widths = _widths(writer, sides, steps, first)
    if all(before == after for before, after in widths):
        return x, "same"
    return pad(writer, x, dict(enumerate(widths, first)), "edge"), "valid"


def _pooling(operation: str) -> Callable[[Writer, Any, Value], Value]:
    def write(writer: Writer, layer: Any, x: Value) -> Value:
        return pool(writer, operation, x, layer.pool_size, layer.strides, layer.padding, layer.data_format)

    return write


def _global_pooling(operation: str) -> Callable[[Writer, Any, Value], Value]:
    def write(writer: Writer, layer: Any, x: Value) -> Value:
        x = writer.write(operation, writer.channels_second(x, layer.data_format))
        if layer.keepdims:
            return x
        flat = writer.write("Flatten", x, rank=2, axis=1)._replace(moved=False)
        writer.maps[flat.name] = x
        return flat

    return write


LAYERS = {
    **{f"MaxPooling{n}D": _pooling("MaxPool") for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": _pooling("AveragePool") for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": _global_pooling("GlobalMaxPool") for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": _global_pooling("GlobalAveragePool") for n in (1, 2, 3)},
}
