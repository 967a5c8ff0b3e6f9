"""What all layers are written with: values, operations, constants, and the order of the axes.

ONNX's convolutions want images as (batch, channels, height, width), Keras has the channels last by default. A value
is therefore kept in either order, and brought into the other only where an operation needs that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...errors import UnsupportedLayerError
from ...family.arrays import role
from ..walk import LayerCall


def unsupported(layer: Any, reason: str) -> UnsupportedLayerError:
    """Return the error for a layer, or an operation of ``keras.ops``, that cannot be written for this reason."""
    return UnsupportedLayerError(f"Layer {layer.name!r}, a {type(layer).__name__}, {reason}")


class Value(NamedTuple):
    """A result of an operation.

    Attributes:
        name: Name in the graph.
        rank: Number of dimensions.
        moved: Whether its last axis in Keras, the channels, comes second in the graph.
    """

    name: str
    rank: int
    moved: bool = False


# What an elementwise operation takes: constants are in Keras' order of axes.
Operand: TypeAlias = Value | np.ndarray | float


class Writer:
    """A graph that grows, and the layer that is being written.

    Attributes:
        nodes: Nodes of ONNX, in the order in which they are computed.
        constants: Constants of ONNX.
        input_shape: Shape in Keras of the first value that the layer takes.
        layer: Name of the layer.
        backend: Keras' backend that the layers compute with.
        maps: Feature maps of one pixel, by the names of the vectors that were made of them.
    """

    def __init__(self, onnx: Any, backend: str) -> None:
        self.backend = backend
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._onnx = onnx
        self.layer = ""
        self.input_shape: tuple[int | None, ...] = ()
        self._seen = Counter[str]()
        self._turned: dict[str, Value] = {}
        self.maps: dict[str, Value] = {}

    def begin(self, call: LayerCall) -> None:
        """Name what is written from now on after this call of a layer."""
        self.layer = call.name
        self.input_shape = tuple(call.inputs[0].shape) if call.inputs else ()

    def unique(self, name: str) -> str:
        """Return the name, with a number behind it if it was seen before."""
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}_{self._seen[name]}"

    def write(self, operation: str, *inputs: Value, rank: int | None = None, **attributes: Any) -> Value:
        """Write an operation, named after the layer; its result has its first input's order, and rank by default."""
        (value,) = self.write_parts(1, operation, *inputs, rank=rank, **attributes)
        return value

    def write_parts(
        self, count: int, operation: str, *inputs: Value, rank: int | None = None, **attributes: Any
    ) -> list[Value]:
        """Write an operation that gives several values."""
        name = self.unique(f"{self.layer}:{operation}")
        names = [name] if count == 1 else [f"{name}.{number}" for number in range(count)]
        self.nodes.append(
            self._onnx.helper.make_node(operation, [x.name for x in inputs], names, name=name, **attributes)
        )
        return [Value(part, inputs[0].rank if rank is None else rank, inputs[0].moved) for part in names]

    def result(self, x: Value, name: str) -> None:
        """Name a value of the model as one of its outputs."""
        natural = self.natural(x)
        self.nodes.append(self._onnx.helper.make_node("Identity", [natural.name], [name], name=name))

    def drop_unused(self, results: Iterable[str]) -> None:
        """Remove operations and constants that these results do not need."""
        needed, nodes = set(results), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        self.nodes = nodes[::-1]
        self.constants = [constant for constant in self.constants if constant.name in needed]

    def natural(self, x: Value) -> Value:
        """Return a value with its axes in Keras' order."""
        return self._turn(x, (0, *range(2, x.rank), 1), False) if x.moved else x

    def channels_second(self, x: Value, data_format: str) -> Value:
        """Return a value with its channels on the second axis, for a layer that has this format in Keras."""
        if data_format == "channels_first":
            return self.natural(x)
        return x if x.moved else self._turn(x, (0, x.rank - 1, *range(1, x.rank - 1)), True)

    def _turn(self, x: Value, order: Sequence[int], moved: bool) -> Value:
        if x.name not in self._turned:
            turned = self.write("Transpose", x, perm=order)._replace(moved=moved)
            self._turned.update({x.name: turned, turned.name: x})
        return self._turned[x.name]

    def axis(self, x: Value, axis: int) -> int:
        """Return where an axis of Keras' is in the graph."""
        axis %= x.rank
        if not x.moved or axis == 0:
            return axis
        return 1 if axis == x.rank - 1 else axis + 1

    def constant(self, value: np.ndarray, what: str) -> Value:
        """Return a constant, unchanged; ``what`` is a part of its name."""
        name = self.unique(f"{self.layer}:{what}")
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return Value(name, value.ndim)

    def floats(self, value: Any, what: str) -> Value:
        """Return a constant in float32."""
        return self.constant(np.asarray(value, np.float32), what)

    def integers(self, value: Any, what: str) -> Value:
        """Return a constant in int64, as ONNX wants shapes and axes."""
        return self.constant(np.asarray(value, np.int64), what)

    def combine(self, operation: str, *operands: Operand) -> Value:
        """Write an elementwise operation on values and constants, which are broadcast by NumPy's rules."""
        values = [x for x in operands if isinstance(x, Value)]
        rank = max(x.rank if isinstance(x, Value) else np.ndim(x) for x in operands)
        # Together in the order that spares a transposition, if all have as many axes.
        moved = any(x.moved for x in values) and all(x.rank == rank for x in values)
        aligned = []
        for x in operands:
            if isinstance(x, Value):
                aligned.append(self.channels_second(x, "channels_last") if moved else self.natural(x))
                continue
            array = np.asarray(x, np.float32)
            if moved and array.ndim:
                array = np.moveaxis(array.reshape((1,) * (rank - array.ndim) + array.shape), -1, 1)
            aligned.append(self.floats(array, "value"))
        return self.write(operation, *aligned, rank=rank)._replace(moved=moved)

    def chain(self, operation: str, operands: Sequence[Operand]) -> Value:
        """Write an elementwise operation on any number of operands, two by two."""
        first, *others = operands
        for other in others:
            first = self.combine(operation, first, other)
        if not isinstance(first, Value):
            raise TypeError(f"{operation} of constants alone")
        return first

    def reduce(self, operation: str, x: Value, axes: Sequence[int] | None = None, keepdims: bool = True) -> Value:
        """Write a reduction such as ``ReduceMean`` over Keras' axes; over all by default."""
        axes = range(x.rank) if axes is None else axes
        if x.moved and not keepdims and not _leaves_order({axis % x.rank for axis in axes}, x.rank):
            x = self.natural(x)
        places = sorted({self.axis(x, axis) for axis in axes})
        rank = x.rank if keepdims else x.rank - len(places)
        keep = int(keepdims)
        if operation == "ReduceSum":  # its axes are an input already; the others' are an attribute
            result = self.write(operation, x, self.integers(places, "axes"), rank=rank, keepdims=keep)
        else:
            result = self.write(operation, x, rank=rank, axes=places, keepdims=keep)
        return result if keepdims else result._replace(moved=False)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Write a value in Keras' order with another shape; a zero keeps the size of that axis."""
        return self.write("Reshape", self.natural(x), self.integers(shape, "shape"), rank=len(shape))

    def slice(self, x: Value, cuts: Sequence[tuple[int, int, int, int]]) -> Value:
        """Cut along Keras' axes, each (axis, start, end, step)."""
        axes, starts, ends, steps = zip(*((self.axis(x, axis), *cut) for axis, *cut in cuts), strict=True)
        parts = (("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps))
        return self.write("Slice", x, *(self.integers(value, what) for what, value in parts))


def _leaves_order(axes: set[int], rank: int) -> bool:
    """Return whether the other axes, with the channels second, keep their order without these axes of Keras'."""
    return rank - 1 in axes or axes >= set(range(1, rank - 1))


def weights_of(layer: Any, *roles: str) -> dict[str, np.ndarray]:
    """Return a layer's weights by role, kernel, bias, …, in float32.

    Raises:
        UnsupportedLayerError: The layer has others than these, such as adapters (LoRA), or numbers of 8 bits.
    """
    found = {
        role(weight.name): np.asarray(value) for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
    if not set(found) <= set(roles) or any(value.dtype.kind not in "fV" for value in found.values()):
        raise unsupported(layer, f"has weights of an unusual kind ({', '.join(found)})")
    return {name: value.astype(np.float32) for name, value in found.items()}
