"""Layers that make one value of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .normalization import unit_length
from .writer import Value, Writer, unsupported


def _merge(operation: str) -> Callable[..., Value]:
    def write(writer: Writer, layer: Any, *inputs: Value) -> Value:
        return writer.chain(operation, _of_one_rank(writer, inputs))

    return write


def _average(writer: Writer, layer: Any, *inputs: Value) -> Value:
    return writer.combine("Div", writer.chain("Add", _of_one_rank(writer, inputs)), len(inputs))


def _of_one_rank(writer: Writer, inputs: Sequence[Value]) -> list[Value]:
    """Give all inputs the same number of axes: Keras inserts the missing ones behind that of the batch."""
    rank = max(x.rank for x in inputs)
    return [
        x
        if x.rank == rank
        else writer.write(
            "Unsqueeze", writer.natural(x), writer.integers(range(1, 1 + rank - x.rank), "axes"), rank=rank
        )
        for x in inputs
    ]


def _concatenate(writer: Writer, layer: Any, *inputs: Value) -> Value:
    return concatenate(writer, inputs, layer.axis)


def concatenate(writer: Writer, inputs: Sequence[Value], axis: int) -> Value:
    """Write values side by side along one of Keras' axes, in the order that most of them have."""
    moved = 2 * sum(x.moved for x in inputs) >= len(inputs) and inputs[0].rank > 2 and any(x.moved for x in inputs)
    aligned = [writer.channels_second(x, "channels_last") if moved else writer.natural(x) for x in inputs]
    return writer.write("Concat", *aligned, axis=writer.axis(aligned[0], axis))


def _dot(writer: Writer, layer: Any, first: Value, second: Value) -> Value:
    if min(first.rank, second.rank) < 2:
        raise unsupported(layer, "multiplies what has no axis but the batch's")
    axes = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes, layer.axes)
    if layer.normalize:
        first, second = (unit_length(writer, x, (axis,)) for x, axis in zip((first, second), axes, strict=True))
    # One letter for each axis in Keras, "z" for the one that is summed over.
    names = [list("abcdef"[: first.rank]), list("aghijk"[: second.rank])]
    for letters, axis in zip(names, axes, strict=True):
        letters[axis] = "z"
    given = [letter for letter in (*names[0], *names[1][1:]) if letter != "z"]
    moved = first.moved and len(given) == first.rank
    left, right = (_stored(x.moved, letters) for x, letters in zip((first, second), names, strict=True))
    equation = f"{left},{right}->{_stored(moved, given)}"
    product = writer.write("Einsum", first, second, rank=len(given), equation=equation)._replace(moved=moved)
    if len(given) > 1:
        return product
    return writer.write("Unsqueeze", product, writer.integers([1], "axes"), rank=2)  # Keras keeps the axis for vectors


def _stored(moved: bool, letters: Sequence[str]) -> str:
    """Return the axes' letters in the graph's order."""
    return "".join([letters[0], letters[-1], *letters[1:-1]] if moved else letters)


LAYERS: dict[str, Callable[..., Value]] = {
    "Add": _merge("Add"),
    "Subtract": _merge("Sub"),
    "Multiply": _merge("Mul"),
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Dot": _dot,
}
