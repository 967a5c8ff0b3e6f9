"""Layers that move numbers about: reshaping, padding, cropping, resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .writer import Value, Writer, unsupported

TO_THE_END = np.iinfo(np.int64).max
# How ONNX calls Keras' ways to resize, which take a pixel for a square with its center in the middle. (Not "bicubic":
# at the border OpenVINO computes that otherwise than Keras.)
_INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    "bilinear": {"mode": "linear"},
}


def _reshape(writer: Writer, layer: Any, x: Value) -> Value:
    shape = layer.target_shape
    if x.rank == 2 and len(shape) == 3 and shape[:2] == (1, 1):
        # Both orders are the same for one pixel, and convolutions want this one.
        if x.name in writer.maps:
            return writer.maps[x.name]
        return writer.write("Reshape", x, writer.integers([0, shape[2], 1, 1], "shape"), rank=4)._replace(moved=True)
    return writer.reshape(x, (0, *shape))


def _flatten(writer: Writer, layer: Any, x: Value) -> Value:
    if x.rank == 1:
        return writer.reshape(x, (0, 1))
    if layer.data_format == "channels_first" and x.rank > 2:  # Keras flattens with the channels last
        x = writer.write("Transpose", writer.natural(x), perm=(0, *range(2, x.rank), 1))
    return writer.reshape(x, (0, -1))


def _permute(writer: Writer, layer: Any, x: Value) -> Value:
    return writer.write("Transpose", writer.natural(x), perm=(0, *layer.dims))


def _repeat_vector(writer: Writer, layer: Any, x: Value) -> Value:
    column = writer.write("Unsqueeze", writer.natural(x), writer.integers([1], "axes"), rank=3)
    return writer.write("Tile", column, writer.integers([1, layer.n, 1], "repeats"))


def _sides(layer: Any, x: Value) -> range:
    """Return Keras' axes of height and width, or of as many sides as there are."""
    return range(2, x.rank) if getattr(layer, "data_format", None) == "channels_first" else range(1, x.rank - 1)


def _pairs(value: Any) -> Sequence[tuple[int, int]]:
    """Return (before, after) for each side; for a layer with one side, Keras has no list around it."""
    return [tuple(value)] if isinstance(value[0], int) else value


def _zero_padding(writer: Writer, layer: Any, x: Value) -> Value:
    return pad(writer, x, dict(zip(_sides(layer, x), _pairs(layer.padding), strict=True)))


def pad(
    writer: Writer, x: Value, widths: dict[int, tuple[int, int]], mode: str = "constant", value: float = 0
) -> Value:
    """Add (before, after) along Keras' axes."""
    pads = np.zeros((2, x.rank), np.int64)
    for axis, around in widths.items():
        pads[:, writer.axis(x, axis)] = around
    filling = [writer.floats(value, "filling")] if value else []
    return writer.write("Pad", x, writer.integers(pads.ravel(), "pads"), *filling, mode=mode)


def _cropping(writer: Writer, layer: Any, x: Value) -> Value:
    sides = zip(_sides(layer, x), _pairs(layer.cropping), strict=True)
    return writer.slice(x, [(axis, begin, -end if end else TO_THE_END, 1) for axis, (begin, end) in sides])


def _center_crop(writer: Writer, layer: Any, x: Value) -> Value:
    cuts = []
    for axis, side in zip(_sides(layer, x), (layer.height, layer.width), strict=True):
        whole = writer.input_shape[axis]
        if whole is None or whole < side:
            raise unsupported(layer, f"crops {whole or 'any number of'} pixels to {side}")
        cuts.append((axis, (whole - side) // 2, (whole - side) // 2 + side, 1))
    return writer.slice(x, cuts)


def _up_sampling(writer: Writer, layer: Any, x: Value) -> Value:
    count = x.rank - 2
    factors = (layer.size,) * count if isinstance(layer.size, int) else tuple(layer.size)
    interpolation = getattr(layer, "interpolation", "nearest")
    if interpolation not in _INTERPOLATIONS:
        raise unsupported(layer, f"has the interpolation {interpolation!r}")
    x = writer.channels_second(x, getattr(layer, "data_format", None) or "channels_last")
    scales = writer.floats([1, 1, *factors], "scales")
    return _resize(writer, x, [scales], interpolation)


def _resizing(writer: Writer, layer: Any, x: Value) -> Value:
    for option in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        if getattr(layer, option, False):
            raise unsupported(layer, f"has the option {option}")
    if layer.interpolation not in _INTERPOLATIONS:
        raise unsupported(layer, f"has the interpolation {layer.interpolation!r}")
    data_format = getattr(layer, "data_format", None) or "channels_last"  # the only format of legacy Keras
    return resize(writer, x, (layer.height, layer.width), layer.interpolation, data_format)


def resize(writer: Writer, x: Value, size: Sequence[int], interpolation: str, data_format: str) -> Value:
    """Resize images to another height and width."""
    x = writer.channels_second(x, data_format)
    batch_and_channels = writer.write("Slice", writer.write("Shape", x, rank=1), *_first_two(writer), rank=1)
    whole = writer.write("Concat", batch_and_channels, writer.integers(size, "size"), axis=0)
    none = writer.floats(np.zeros(0), "scales")
    return _resize(writer, x, [none, whole], interpolation)


def _first_two(writer: Writer) -> tuple[Value, Value]:
    return writer.integers([0], "starts"), writer.integers([2], "ends")


def _resize(writer: Writer, x: Value, target: Sequence[Value], interpolation: str) -> Value:
    region = writer.floats(np.zeros(0), "region")
    return writer.write(
        "Resize", x, region, *target,
        coordinate_transformation_mode="half_pixel", **_INTERPOLATIONS[interpolation],
    )  # fmt: skip


LAYERS: dict[str, Callable[[Writer, Any, Value], Value]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    **{f"ZeroPadding{n}D": _zero_padding for n in (1, 2, 3)},
    **{f"Cropping{n}D": _cropping for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _up_sampling for n in (1, 2, 3)},
    "CenterCrop": _center_crop,
    "Resizing": _resizing,
}
