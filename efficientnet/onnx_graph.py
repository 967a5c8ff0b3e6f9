"""Writes a Keras model down as an ONNX graph, layer by layer, with the package ``onnx`` alone.

Inside the graph images are (batch, channels, height, width), as ONNX's convolutions want them; inputs and
outputs keep the model's own layout.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .checkpoints.keras_h5 import role
from .folding import batch_norm_as_scaling
from .layer_calls import LayerCall, functional, keras_layer, run
from .openvino_graph import data_formats

_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
# The oldest that has every operation needed here, so that older runtimes, too, read the file.
_OPSET, _IR_VERSION = 13, 8


def convert(model: Any, batch: int | str = "dynamic") -> Any:
    """The ONNX model of a functional or sequential Keras model, in float32.

    Args:
        model: of either Keras, on any backend, in either channel order.
        batch: how many images each input takes; ``"dynamic"`` for any number.

    Returns:
        An ``onnx.ModelProto``. Inputs are named as the model's input layers, outputs as the layers that give them.

    Raises:
        ValueError: the model has a layer that is not written down here; the message names it.
        ImportError: the package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("Writing ONNX needs the package onnx: pip install 'efficientnet[onnx]'.") from error
    graph, formats = functional(model), data_formats(model)
    if len(formats) > 1:
        raise ValueError(f"{model.name} mixes channels_first and channels_last layers; make them all alike.")
    writer = _Writer(onnx, channels_last=formats != {"channels_first"})
    inputs, outputs = (
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, ["batch" if batch == "dynamic" else batch, *tensor.shape[1:]]
            )
            for name, tensor in zip(names, tensors, strict=True)
        ]
        for names, tensors in zip(tensor_names(model), (graph.inputs, graph.outputs), strict=True)
    )
    values = [_Value(x.name, len(tensor.shape)) for x, tensor in zip(inputs, graph.inputs, strict=True)]
    results = run(model, [writer.in_graph_layout(value) for value in values], writer.layer)
    for result, output in zip(results, outputs, strict=True):
        writer.write("Identity", writer.in_keras_layout(result), output=output.name)
    return onnx.helper.make_model(
        onnx.helper.make_graph(writer.nodes, model.name, inputs, outputs, writer.constants),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="efficientnet",
    )


def tensor_names(model: Any) -> tuple[list[str], list[str]]:
    """What a functional model's inputs and outputs are called: as the layers they come from, without repetitions."""
    graph, seen = functional(model), Counter[str]()
    return (
        [_unique(tensor._keras_history[0].name, seen) for tensor in graph.inputs],
        [_unique(tensor._keras_history[0].name, seen) for tensor in graph.outputs],
    )


def _unique(name: str, seen: Counter[str]) -> str:
    """The name, with a number behind it where it was seen before."""
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}_{seen[name]}"


class _Value(NamedTuple):
    """What an operation gives, or a constant: its name in the graph and its number of dimensions."""

    name: str
    rank: int


def _unsupported(layer: Any, reason: str) -> ValueError:
    return ValueError(
        f"Layer {layer.name!r}, a {type(layer).__name__}, {reason}; export the model without it, or as saved_model."
    )


class _Writer:
    """Turns layers into operations; each method named after a layer's class writes that layer."""

    def __init__(self, onnx: Any, channels_last: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._onnx = onnx
        self._channels_last = channels_last
        self._layer = ""
        self._seen = Counter[str]()

    def layer(self, call: LayerCall, inputs: list[_Value]) -> list[_Value]:
        """Writes one call of a layer."""
        write: Callable[..., _Value] | None = getattr(self, f"_{keras_layer(call.layer)}", None)
        if write is None:
            raise _unsupported(call.layer, "has no ONNX form here")
        self._layer = call.name
        return [write(call.layer, *inputs)]

    def write(
        self, operation: str, *inputs: _Value, rank: int | None = None, output: str | None = None, **attributes: Any
    ) -> _Value:
        """Writes an operation, named after the layer; of its first input's rank unless told otherwise."""
        name = output or _unique(f"{self._layer}:{operation}", self._seen)
        self.nodes.append(
            self._onnx.helper.make_node(operation, [x.name for x in inputs], [name], name=name, **attributes)
        )
        return _Value(name, inputs[0].rank if rank is None else rank)

    def in_graph_layout(self, x: _Value) -> _Value:
        """Brings an image in the model's layout into the graph's, where they differ."""
        return self.write("Transpose", x, perm=_TO_CHANNELS_FIRST) if self._is_channels_last(x.rank) else x

    def in_keras_layout(self, x: _Value) -> _Value:
        """The other way round."""
        return self.write("Transpose", x, perm=_TO_CHANNELS_LAST) if self._is_channels_last(x.rank) else x

    def _is_channels_last(self, rank: int) -> bool:
        return rank == 4 and self._channels_last

    def _constant(self, value: np.ndarray, what: str) -> _Value:
        name = _unique(f"{self._layer}:{what}", self._seen)
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return _Value(name, value.ndim)

    def _floats(self, value: Any, what: str) -> _Value:
        return self._constant(np.asarray(value, np.float32), what)

    def _Conv2D(self, layer: Any, x: _Value) -> _Value:
        weights = _weights(layer)  # the kernel is (height, width, inputs / groups, outputs)
        return self._convolution(layer, x, weights["kernel"].transpose(3, 2, 0, 1), layer.groups, weights)

    def _DepthwiseConv2D(self, layer: Any, x: _Value) -> _Value:
        weights = _weights(layer)
        height, width, inputs, multiplier = weights["kernel"].shape
        kernel = weights["kernel"].transpose(2, 3, 0, 1).reshape(inputs * multiplier, 1, height, width)
        return self._convolution(layer, x, kernel, inputs, weights)

    def _convolution(
        self, layer: Any, x: _Value, kernel: np.ndarray, groups: int, weights: dict[str, np.ndarray]
    ) -> _Value:
        operands = [self._floats(kernel, "kernel")]
        if "bias" in weights:
            operands.append(self._floats(weights["bias"], "bias"))
        x = self.write(
            "Conv", x, *operands,
            kernel_shape=kernel.shape[2:], strides=layer.strides, dilations=layer.dilation_rate, group=groups,
            **_padding(layer),
        )  # fmt: skip
        return self._activate(layer, x)

    def _Dense(self, layer: Any, x: _Value) -> _Value:
        weights = _weights(layer)
        x = self.write("MatMul", self.in_keras_layout(x), self._floats(weights["kernel"], "kernel"))
        if "bias" in weights:
            x = self.write("Add", x, self._floats(weights["bias"], "bias"))
        return self._activate(layer, self.in_graph_layout(x))

    def _BatchNormalization(self, layer: Any, x: _Value) -> _Value:
        axis, *values = batch_norm_as_scaling(layer, x.rank)
        shape = [1] * x.rank
        shape[axis] = -1
        return self._scale(x, *(value.reshape(shape) for value in values))

    def _Rescaling(self, layer: Any, x: _Value) -> _Value:
        return self._scale(x, np.asarray(layer.scale), np.asarray(layer.offset))

    def _scale(self, x: _Value, scale: np.ndarray, offset: np.ndarray) -> _Value:
        """Multiplies with and adds what the model's layout can be broadcast with."""
        for operation, value in (("Mul", scale), ("Add", offset)):
            value = value.reshape((1,) * (x.rank - value.ndim) + value.shape)
            if self._is_channels_last(x.rank):
                value = value.transpose(_TO_CHANNELS_FIRST)
            x = self.write(operation, x, self._floats(value, "scale" if operation == "Mul" else "offset"))
        return x

    def _Activation(self, layer: Any, x: _Value) -> _Value:
        return self._activate(layer, x)

    def _activate(self, layer: Any, x: _Value) -> _Value:
        channels = 1 if self._is_channels_last(x.rank) else x.rank - 1  # the model's last axis
        activations: dict[str, Callable[[], _Value]] = {
            "linear": lambda: x,
            "relu": lambda: self.write("Relu", x),
            "relu6": lambda: self.write("Clip", x, self._floats(0, "min"), self._floats(6, "max")),
            "sigmoid": lambda: self.write("Sigmoid", x),
            "silu": lambda: self.write("Mul", x, self.write("Sigmoid", x)),
            "softmax": lambda: self.write("Softmax", x, axis=channels),
            "tanh": lambda: self.write("Tanh", x),
        }
        activations["swish"] = activations["silu"]  # as legacy Keras calls it
        name = layer.activation.__name__
        if name not in activations:
            raise _unsupported(layer, f"has the activation {name!r}; written down here are {', '.join(activations)}")
        return activations[name]()

    def _GlobalAveragePooling2D(self, layer: Any, x: _Value) -> _Value:
        return self._pool("GlobalAveragePool", layer, x)

    def _GlobalMaxPooling2D(self, layer: Any, x: _Value) -> _Value:
        return self._pool("GlobalMaxPool", layer, x)

    def _pool(self, operation: str, layer: Any, x: _Value) -> _Value:
        x = self.write(operation, x)
        return x if layer.keepdims else self.write("Flatten", x, rank=2, axis=1)

    def _Reshape(self, layer: Any, x: _Value) -> _Value:
        shape = layer.target_shape
        if x.rank == 2 and self._is_channels_last(len(shape) + 1) and shape[:2] == (1, 1):
            return self._reshape(x, (shape[2], 1, 1))  # of one pixel, both layouts are the same
        return self.in_graph_layout(self._reshape(self.in_keras_layout(x), shape))

    def _Flatten(self, layer: Any, x: _Value) -> _Value:
        # Keras flattens images with their channels last, in whichever order they are.
        is_image = x.rank == 4
        if layer.data_format == "channels_first" and x.rank > 2 and not is_image:
            raise _unsupported(layer, "flattens channels_first, but no images")
        return self._reshape(self.write("Transpose", x, perm=_TO_CHANNELS_LAST) if is_image else x, (-1,))

    def _reshape(self, x: _Value, shape: Sequence[int]) -> _Value:
        # A zero keeps the batch's size.
        return self.write("Reshape", x, self._constant(np.array([0, *shape], np.int64), "shape"), rank=len(shape) + 1)

    def _ZeroPadding2D(self, layer: Any, x: _Value) -> _Value:
        (top, bottom), (left, right) = layer.padding
        return self.write("Pad", x, self._constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64), "pads"))

    def _Dot(self, layer: Any, first: _Value, second: _Value) -> _Value:
        if layer.normalize:
            raise _unsupported(layer, "normalises what it multiplies")
        axes = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes, layer.axes)
        # One letter for each axis of the model's layout, "z" for the one that is summed over.
        names = [list("abcd"[: first.rank]), list("aefg"[: second.rank])]
        for letters, axis in zip(names, axes, strict=True):
            letters[axis] = "z"
        given = [letter for letter in (*names[0], *names[1][1:]) if letter != "z"]
        left, right, result = ("".join(self._order(letters)) for letters in (*names, given))
        return self.write("Einsum", first, second, rank=len(given), equation=f"{left},{right}->{result}")

    def _order(self, letters: Sequence[str]) -> list[str]:
        is_image = self._is_channels_last(len(letters))
        return [letters[axis] for axis in (_TO_CHANNELS_FIRST if is_image else range(len(letters)))]

    def _Multiply(self, layer: Any, *inputs: _Value) -> _Value:
        return self._merge("Mul", layer, inputs)

    def _Add(self, layer: Any, *inputs: _Value) -> _Value:
        return self._merge("Add", layer, inputs)

    def _merge(self, operation: str, layer: Any, inputs: Sequence[_Value]) -> _Value:
        if len({x.rank for x in inputs}) > 1:
            raise _unsupported(layer, "merges images with vectors")
        return functools.reduce(functools.partial(self.write, operation), inputs)

    def _Dropout(self, layer: Any, x: _Value) -> _Value:
        return x  # answers are not dropped


def _padding(layer: Any) -> dict[str, Any]:
    """A convolution's padding as ONNX has it; the odd pixel goes to the bottom and right."""
    if layer.padding.lower() == "valid":
        return {"auto_pad": "VALID"}
    if max(layer.strides) > 1:
        return {"auto_pad": "SAME_UPPER"}  # how much it is depends on the image's size
    # Without a stride it does not; and of dilated convolutions ONNX Runtime takes it only in numbers.
    around = [dilation * (side - 1) for dilation, side in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    before = [total // 2 for total in around]
    return {"pads": [*before, *(total - half for total, half in zip(around, before, strict=True))]}


def _weights(layer: Any) -> dict[str, np.ndarray]:
    """A layer's weights by role: kernel and, where it has one, bias."""
    return {role(weight.name): value for weight, value in zip(layer.weights, layer.get_weights(), strict=True)}
