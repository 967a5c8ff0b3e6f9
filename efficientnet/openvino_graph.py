"""Writes a Keras model down as an OpenVINO graph, layer by layer, without TensorFlow or ONNX.

Inside the graph images are (batch, channels, height, width), as OpenVINO's convolutions want them; inputs
and outputs keep the model's own layout.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .checkpoints.keras_h5 import role
from .layer_calls import LayerCall, keras_layer, run
from .preprocessing import Scaling

_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class UnsupportedLayerError(ValueError):
    """A layer for which no OpenVINO operation is written down here; ``problem`` says which and why."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; use engine='keras' for this model.")
        self.problem = problem


_core_lock = threading.Lock()


def core() -> Any:
    """OpenVINO's runtime, one for the whole process, with its plugin for processors loaded. Threads may share it."""
    with _core_lock:  # as functools.cache has none
        runtime, process = _core()
    if os.getpid() != process:
        raise RuntimeError(
            f"OpenVINO was loaded in process {process}, of which this one, {os.getpid()}, is a fork: its threads are "
            "not in it. Compile no model before the fork, or start processes by spawn."
        )
    return runtime


@functools.cache
def _core() -> tuple[Any, int]:
    def load() -> Any:
        import openvino

        runtime = openvino.Core()
        runtime.get_property("CPU", "FULL_DEVICE_NAME")
        # The binding takes the GIL while it makes a static table of NumPy's types, at the first array. Of two threads
        # that come with the first arrays, one then waits for the table with the GIL, the other for the GIL, for ever.
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        return runtime

    return in_own_thread(load), os.getpid()


def in_own_thread(load: Callable[[], Any]) -> Any:
    """What a function returns that makes a runtime of OpenVINO's.

    A runtime gives the thread that makes it a stack for signals, and frees that at its own end (2026.4). In the main
    thread, after two that overlap, the next signal, be it a Ctrl-C, is a segmentation fault.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


def convert(model: Any, scaling: Scaling | None = None) -> Any:
    """The OpenVINO model of a functional or sequential Keras model, in float32 and for any batch size.

    Args:
        model: of either Keras, on any backend, in either channel order.
        scaling: what is done to the colours of each input image before the model; nothing by default.

    Returns:
        An ``openvino.Model`` with the inputs and outputs of ``model``.

    Raises:
        UnsupportedLayerError: the model has a layer that is not written down here; the message names it.
    """
    import openvino
    from openvino import opset13 as ops

    parameters = []
    for tensor in model.inputs:
        shape = [-1 if side is None else int(side) for side in tensor.shape]
        parameters.append(ops.parameter(shape, np.float32))
    formats = data_formats(model)
    if len(formats) > 1:
        raise UnsupportedLayerError(f"{model.name} mixes channels_first and channels_last layers")
    writer = _Writer(ops, channels_last=formats != {"channels_first"})
    scaled = parameters if scaling is None else [writer.scale_image(x, *scaling) for x in parameters]
    inputs = [writer.transpose(x, _TO_CHANNELS_FIRST) for x in scaled]
    outputs = [writer.transpose(output, _TO_CHANNELS_LAST) for output in run(model, inputs, writer.layer)]
    return openvino.Model(outputs, parameters, model.name)


def data_formats(model: Any) -> set[str]:
    """The channel orders of a model's layers: ``"channels_last"``, ``"channels_first"``, both, or none."""
    return {layer.data_format for layer in _flatten(model) if getattr(layer, "data_format", None)}


def _flatten(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flatten(layer)
        else:
            yield layer


def _unsupported(layer: Any, reason: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(f"Layer {layer.name!r}, a {type(layer).__name__}, {reason}")


def _node(x: Any) -> Any:
    """The operation behind one of its outputs, as which OpenVINO hands out some of them."""
    return x.get_node() if hasattr(x, "get_node") else x


def _rank(x: Any) -> int:
    return len(x.get_output_partial_shape(0))


class _Writer:
    """Turns layers into operations; each method named after a layer's class writes that layer."""

    def __init__(self, ops: Any, channels_last: bool) -> None:
        self.ops = ops
        self.channels_last = channels_last
        self.names: Counter[str] = Counter()

    def layer(self, call: LayerCall, inputs: list[Any]) -> list[Any]:
        """Writes one call of a layer."""
        write: Callable[..., Any] | None = getattr(self, f"_{keras_layer(call.layer)}", None)
        if write is None:
            raise _unsupported(call.layer, "has no OpenVINO form here")
        written = write(call.layer, *inputs)
        self._name_operations(written, inputs, call.name)
        return [written]

    def _name_operations(self, output: Any, inputs: Sequence[Any], layer: str) -> None:
        """Names what a layer was written as ``LAYER:OPERATION``: what OpenVINO tells of it is so told of the layer.

        A second one gets a number, ``LAYER:OPERATION.2``, since nncf tells operations apart by their names.
        """
        known = {_node(x).get_name() for x in inputs}
        unnamed = [_node(output)]
        while unnamed:
            node = unnamed.pop()
            if node.get_name() not in known:
                known.add(node.get_name())
                name = f"{layer}:{node.get_type_name()}"
                self.names[name] += 1
                node.set_friendly_name(name if self.names[name] == 1 else f"{name}.{self.names[name]}")
                unnamed += [_node(source) for source in node.input_values()]

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        """Swaps between the model's layout and the graph's: images only, and only where they differ."""
        if not self.channels_last or _rank(x) != 4:
            return x
        return self.ops.transpose(x, self.ops.constant(np.array(order, np.int64)))

    def _Conv2D(self, layer: Any, x: Any) -> Any:
        weights = self._weights(layer)
        kernel = weights["kernel"]  # (height, width, in / groups, out)
        padding = layer.padding.lower()
        if layer.groups == 1:
            x = self._convolution(self.ops.convolution, layer, x, kernel.transpose(3, 2, 0, 1), padding)
        else:
            split = kernel.reshape(*kernel.shape[:3], layer.groups, -1)
            x = self._convolution(self.ops.group_convolution, layer, x, split.transpose(3, 4, 2, 0, 1), padding)
        return self._bias_and_activation(layer, x, weights)

    def _DepthwiseConv2D(self, layer: Any, x: Any) -> Any:
        weights = self._weights(layer)
        kernel = weights["kernel"]  # (height, width, in, multiplier)
        x = self._convolution(
            self.ops.group_convolution, layer, x, kernel.transpose(2, 3, 0, 1)[:, :, None], layer.padding.lower()
        )
        return self._bias_and_activation(layer, x, weights)

    def _convolution(self, operation: Any, layer: Any, x: Any, kernel: np.ndarray, padding: str) -> Any:
        # TensorFlow's "same" puts the odd pixel of padding at the bottom and right: OpenVINO's same_upper.
        auto_pad = {"same": "same_upper", "valid": "valid"}[padding]
        no_padding, dilations = [0, 0], list(layer.dilation_rate)
        weights = self._constant(np.ascontiguousarray(kernel))
        return operation(x, weights, list(layer.strides), no_padding, no_padding, dilations, auto_pad)

    def _bias_and_activation(self, layer: Any, x: Any, weights: dict[str, np.ndarray]) -> Any:
        if "bias" in weights:
            x = self.ops.add(x, self._constant(weights["bias"].reshape(1, -1, 1, 1)))
        return self._activate(layer, x)

    def _Dense(self, layer: Any, x: Any) -> Any:
        if _rank(x) != 2:
            raise _unsupported(layer, "works on more than vectors")
        weights = self._weights(layer)
        x = self.ops.matmul(x, self._constant(weights["kernel"]), False, False)
        if "bias" in weights:
            x = self.ops.add(x, self._constant(weights["bias"]))
        return self._activate(layer, x)

    def _BatchNormalization(self, layer: Any, x: Any) -> Any:
        weights = self._weights(layer)
        scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + layer.epsilon)
        offset = weights.get("beta", 0.0) - weights["moving_mean"] * scale
        axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
        if axis % _rank(x) != (_rank(x) - 1 if self.channels_last or _rank(x) == 2 else 1):
            raise _unsupported(layer, f"normalises axis {axis}, which is not that of the channels")
        return self._scale_channels(x, scale, offset)

    def _Rescaling(self, layer: Any, x: Any) -> Any:
        scale, offset = (np.ravel(np.asarray(value, np.float32)) for value in (layer.scale, layer.offset))
        return self.transpose(self.scale_image(self.transpose(x, _TO_CHANNELS_LAST), scale, offset), _TO_CHANNELS_FIRST)

    def scale_image(self, x: Any, scale: Any, offset: Any) -> Any:
        """Scales colours in the model's layout: beside the input, OpenVINO then need not reorder pixels by itself.

        It stays a multiplication and an addition: a convolution that pads with zeros cannot absorb the offset, since
        its border would be another colour; and what the multiplication takes is less than can be measured.
        """
        axis = _rank(x) - 1 if self.channels_last else 1
        return self._scale_axis(x, axis, np.asarray(scale, np.float32), np.asarray(offset, np.float32))

    def _scale_channels(self, x: Any, scale: np.ndarray, offset: np.ndarray) -> Any:
        return self._scale_axis(x, 1, scale, offset)

    def _scale_axis(self, x: Any, axis: int, scale: np.ndarray, offset: np.ndarray) -> Any:
        shape = [-1 if place == axis else 1 for place in range(_rank(x))]
        x = self.ops.multiply(x, self._constant(scale.reshape(shape)))
        return self.ops.add(x, self._constant(offset.reshape(shape)))

    def _Activation(self, layer: Any, x: Any) -> Any:
        return self._activate(layer, x)

    def _activate(self, layer: Any, x: Any) -> Any:
        name = layer.activation.__name__
        if name == "softmax" and _rank(x) == 4 and not self.channels_last:
            raise _unsupported(layer, "takes the softmax over columns")
        activations: dict[str, Callable[[], Any]] = {
            "linear": lambda: x,
            "relu": lambda: self.ops.relu(x),
            "relu6": lambda: self.ops.clamp(x, 0.0, 6.0),
            "sigmoid": lambda: self.ops.sigmoid(x),
            "silu": lambda: self.ops.swish(x),
            "swish": lambda: self.ops.swish(x),
            "softmax": lambda: self.ops.softmax(x, 1),  # channels and classes both stand at 1 here
            "tanh": lambda: self.ops.tanh(x),
        }
        if name not in activations:
            raise _unsupported(layer, f"has the activation {name!r}; written down here are {', '.join(activations)}")
        return activations[name]()

    def _GlobalAveragePooling2D(self, layer: Any, x: Any) -> Any:
        return self.ops.reduce_mean(x, self._sides(), keep_dims=layer.keepdims)

    def _GlobalMaxPooling2D(self, layer: Any, x: Any) -> Any:
        return self.ops.reduce_max(x, self._sides(), keep_dims=layer.keepdims)

    def _Reshape(self, layer: Any, x: Any) -> Any:
        x = self.transpose(x, _TO_CHANNELS_LAST)
        x = self.ops.reshape(x, self.ops.constant(np.array([0, *layer.target_shape], np.int64)), special_zero=True)
        return self.transpose(x, _TO_CHANNELS_FIRST)

    def _Flatten(self, layer: Any, x: Any) -> Any:
        if _rank(x) == 4:  # Keras flattens images with their channels last, in whichever order they are
            x = self.ops.transpose(x, self.ops.constant(np.array(_TO_CHANNELS_LAST, np.int64)))
        return self.ops.reshape(x, self.ops.constant(np.array([0, -1], np.int64)), special_zero=True)

    def _ZeroPadding2D(self, layer: Any, x: Any) -> Any:
        (top, bottom), (left, right) = layer.padding
        begin, end = ([0, 0, *sides] for sides in ((top, left), (bottom, right)))
        pads = (self.ops.constant(np.array(sides, np.int64)) for sides in (begin, end))
        return self.ops.pad(x, *pads, "constant", self._constant(np.zeros((), np.float32)))

    def _Dot(self, layer: Any, first: Any, second: Any) -> Any:
        if layer.normalize:
            raise _unsupported(layer, "normalises what it multiplies")
        axes = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes, layer.axes)
        # One letter for each axis of the model's layout, "z" for the one that is summed over.
        names = [list("abcd"), list("aefg")]
        operands = []
        for x, letters, axis in zip((first, second), names, axes, strict=True):
            del letters[_rank(x) :]
            letters[axis] = "z"
            operands.append(self._in_graph_order(letters))
        result = self._in_graph_order([letter for letter in (*names[0], *names[1][1:]) if letter != "z"])
        return self.ops.einsum([first, second], f"{','.join(operands)}->{result}")

    def _in_graph_order(self, letters: Sequence[str]) -> str:
        is_image = self.channels_last and len(letters) == 4
        return "".join(letters[axis] for axis in _TO_CHANNELS_FIRST) if is_image else "".join(letters)

    def _Multiply(self, layer: Any, *inputs: Any) -> Any:
        return self._merge(layer, self.ops.multiply, inputs)

    def _Add(self, layer: Any, *inputs: Any) -> Any:
        return self._merge(layer, self.ops.add, inputs)

    def _merge(self, layer: Any, operation: Any, inputs: Sequence[Any]) -> Any:
        if len({_rank(x) for x in inputs}) > 1:
            raise _unsupported(layer, "merges images with vectors")
        return functools.reduce(operation, inputs)

    def _Dropout(self, layer: Any, x: Any) -> Any:
        return x  # answers are not dropped

    def _sides(self) -> Any:
        return self.ops.constant(np.array([2, 3], np.int64))

    def _constant(self, value: np.ndarray) -> Any:
        return self.ops.constant(np.asarray(value, np.float32))

    def _weights(self, layer: Any) -> dict[str, np.ndarray]:
        """A layer's weights in float32 by role: kernel, bias, gamma, …"""
        return {
            role(weight.name): np.asarray(value, np.float32)
            for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
        }
