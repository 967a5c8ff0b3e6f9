"""A network as it is to predict: in float32, and without its batch norms.

Each of these is a scale and an offset, which the layer beside it can do as well.

Nor does a reshape follow a global pooling, which can keep its dimensions: many runtimes compute the shape that Keras'
``Reshape`` gives with each image anew, outside of their fast kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints.marks import Mark
from ..family.arrays import role
from ..network.backends import deep_recursion
from ..network.initializers import call_drawing_weights
from . import marks
from .walk import LayerCall, functional, is_idle, keras_layer, keras_of, run, structure, tree_of

_LINEAR = ("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Dense")
_OTHER_FLOATS = ("float16", "bfloat16", "float64")
_POOLING = tuple(f"Global{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3))


def fold_batch_norm(model: Any) -> Any:
    """Return the same network, for predictions only, without batch norms and dropouts.

    A batch norm goes into the convolution or dense layer before it, or else into the dense layer behind it. One
    that has neither beside it for itself alone (CondConv's, behind the mixing of kernels) becomes the depthwise
    convolution of 1 x 1 pixels that it amounts to, where it is one of an image's channels, and otherwise stays; so
    does a layer that trains while predicting, by ``training=True``. A global pooling whose averages are reshaped to
    one pixel keeps that pixel itself.

    Args:
        model: Functional or sequential model of either Keras, on any backend, in either channel order, with any
            head. It stays unchanged.

    Returns:
        A functional model of the same Keras with new layers, in float32, which plain Keras saves and loads. The layers
        that are left keep names and ``trainable`` flags. Models within the model are taken apart into their layers;
        where one's name is taken, that of its model stands in front, ``"body_stem_conv"``. A dropout of rate 0 before
        the first convolution says how pixels are scaled, which the convolution itself said without a bias.

    Raises:
        ValueError: The model has no graph of layers.
    """
    steps, outputs = _steps(model)
    copies = _copies(model, steps)
    return _build(model, steps, outputs, copies, _fold(steps, outputs, copies, keras_of(model)))


def in_float32(model: Any) -> Any:
    """Return a network that predicts in float32: the model itself, or a copy of one with another dtype policy.

    A model that was built in mixed precision, or in 16 or 64 bits, computes so wherever it is opened. Engines and
    exported files compute in float32, and are to be compared with what Keras computes so.

    Args:
        model: As in :func:`fold_batch_norm`; the copy is made in the same manner.
    """
    steps, outputs = _steps(model)
    if not any(_has_other_policy(step.call.layer) for step in steps):
        return model
    return _build(model, steps, outputs, _copies(model, steps), {})


def _has_other_policy(layer: Any) -> bool:
    """Return whether a layer computes in floating numbers of other than 32 bits."""
    return getattr(layer, "compute_dtype", None) in _OTHER_FLOATS and not getattr(layer, "quantization_mode", None)


def _copies(model: Any, steps: list[_Step]) -> dict[int, _Copy]:
    """Return a copy of each layer, by its identity; operations have none, and are called unchanged."""
    copies: dict[int, _Copy] = {}
    names = {layer.name for layer in functional(model).layers}
    for step in steps:
        layer, is_inner = step.call.layer, "/" in step.call.name
        if hasattr(layer, "get_weights") and id(layer) not in copies:
            name = step.call.name.replace("/", "_") if is_inner and layer.name in names else layer.name
            names.add(name)
            copies[id(layer)] = _Copy(layer, name)
    return copies


class _Step(NamedTuple):
    """A call of a layer, with the numbers of the values that it takes and gives."""

    call: LayerCall
    inputs: list[int]
    outputs: list[int]


class _Copy:
    """A new layer and its future weights."""

    def __init__(self, layer: Any, name: str) -> None:
        self.name = name
        self._mark = marks.of_layer(layer)
        self._kind = type(layer)
        self._config = {**layer.get_config(), "name": name}
        if _has_other_policy(layer):
            self._config["dtype"] = "float32"
        if callable(getattr(layer, "activation", None)):
            self._config["activation"] = layer.activation  # itself, since not every function is found by its name
        self._weights: list[np.ndarray] = layer.get_weights()
        # A Lambda itself: Keras refuses to make another one of its function.
        self._layer: Any = layer if keras_layer(layer) == "Lambda" else None

    @property
    def has_plain_weights(self) -> bool:
        """Whether these are a kernel and perhaps a bias: no adapters (LoRA), nothing quantized."""
        return len(self._weights) == 1 + self._config["use_bias"] and self._weights[0].dtype.kind == "f"

    @property
    def lost_mark(self) -> Mark | None:
        """The mark of the original layer, if a bias has taken its place."""
        return self._mark if self._config.get("use_bias") else None

    def scale_outputs(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Make a linear layer multiply its outputs, each channel by its own factor, and then add to them."""
        kernel, *bias = self._weights
        # A depthwise kernel ends in (inputs, multiplier), which count the outputs in this order.
        by_output = scale.reshape(kernel.shape[-2:]) if "depth_multiplier" in self._config else scale
        self._set_weights(kernel * by_output, (bias[0] if bias else 0) * scale + offset)

    def scale_inputs(self, scale: np.ndarray, offset: np.ndarray) -> None:
        """Make a dense layer first multiply its inputs, and add to them."""
        kernel, *bias = self._weights
        self._set_weights(kernel * scale[:, None], (bias[0] if bias else 0) + offset @ kernel)

    def become_depthwise(self, kind: type, axis: int, scale: np.ndarray, offset: np.ndarray) -> None:
        """Turn it into a ``DepthwiseConv2D`` that scales and offsets each channel of an image."""
        kept = {key: self._config[key] for key in ("name", "trainable", "dtype")}
        self._kind = kind
        self._config = {**kept, "kernel_size": 1, "data_format": "channels_first" if axis == 1 else "channels_last"}
        self._set_weights(scale.reshape(1, 1, -1, 1), offset)

    def keep_dimensions(self) -> None:
        """Make a global pooling return one pixel instead of a vector."""
        self._config["keepdims"] = True

    def _set_weights(self, *weights: np.ndarray) -> None:
        self._config.update(use_bias=True, bias_initializer="zeros")
        self._weights = [np.asarray(value, np.float32) for value in weights]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, which is made for its first call."""
        is_new = self._layer is None
        if is_new:
            self._layer = self._kind.from_config(self._config)
        if keras_layer(self._layer) not in _LINEAR:
            result = self._layer(*args, **kwargs)
        elif is_new:  # such a layer takes one value and no options
            result = call_drawing_weights(None, self._layer, *args)
        else:
            result = self._layer(*args)
        if is_new:
            self._layer.set_weights(self._weights)
            if keras_layer(self._layer) == "Normalization":
                self._layer.finalize_state()  # it computes with values derived from the weights
        return result


def _steps(model: Any) -> tuple[list[_Step], list[int]]:
    """Return the calls of a prediction, in order, and the numbers of the outputs. Inputs have the first numbers."""
    steps: list[_Step] = []
    count = len(functional(model).inputs)

    def record(call: LayerCall, inputs: list[int]) -> list[int]:
        nonlocal count
        if is_idle(call) and marks.of_layer(call.layer) is None:
            return inputs
        outputs = list(range(count, count + len(call.outputs)))
        count += len(outputs)
        steps.append(_Step(call, inputs, outputs))
        return outputs

    return steps, run(model, range(count), record)


def _fold(steps: list[_Step], outputs: list[int], copies: Mapping[int, _Copy], keras: Any) -> dict[int, int]:
    """Fold the batch norms, and reshapes behind a pooling, into the copies of other layers.

    Returns:
        The value that replaces each one that is no longer computed.
    """
    calls = Counter(id(step.call.layer) for step in steps)
    uses = Counter([*outputs, *(value for step in steps for value in step.inputs)])
    makers = {value: step for step in steps for value in step.outputs}
    takers = {value: step for step in steps for value in step.inputs}
    equal: dict[int, int] = {}

    def alone(step: _Step | None, value: int, kinds: tuple[str, ...]) -> _Copy | None:
        """Return the copy of a step's layer, if it is of such a kind and there for this value alone."""
        if step is None or uses[value] > 1 or calls[id(step.call.layer)] > 1:
            return None
        return copies.get(id(step.call.layer)) if keras_layer(step.call.layer) in kinds else None

    def linear(step: _Step | None, value: int, kinds: tuple[str, ...]) -> _Copy | None:
        copy = alone(step, value, kinds)
        return copy if copy and copy.has_plain_weights else None

    for step in steps:
        kind = keras_layer(step.call.layer)
        if kind not in ("BatchNormalization", "Reshape") or step.call.trains:
            continue
        (source,), (target,) = step.inputs, step.outputs
        if kind == "Reshape":
            pooling = makers.get(source)
            copy = alone(pooling, source, _POOLING)
            if pooling and copy and tuple(step.call.outputs[0].shape[1:]) == _as_pixel(pooling.call):
                copy.keep_dimensions()
                equal[target] = source
            continue
        rank = len(step.call.outputs[0].shape)
        axis, scale, offset = batch_norm_as_scaling(step.call.layer, rank)
        before, behind = makers.get(source), takers.get(target)
        if before and _gives_channels(before.call.layer, axis, rank) and (copy := linear(before, source, _LINEAR)):
            copy.scale_outputs(scale, offset)
            makers[target] = before
        elif axis == rank - 1 and (copy := linear(behind, target, ("Dense",))):
            copy.scale_inputs(scale, offset)
        else:
            if rank == 4 and axis in (1, 3):
                copies[id(step.call.layer)].become_depthwise(keras.layers.DepthwiseConv2D, axis, scale, offset)
            continue
        equal[target] = source
    return equal


def _build(
    model: Any, steps: list[_Step], outputs: list[int], copies: Mapping[int, _Copy], equal: Mapping[int, int]
) -> Any:
    keras, graph = keras_of(model), functional(model)
    inputs = [
        keras.layers.Input(
            tensor.shape[1:],
            tensor.shape[0],
            dtype="float32" if tensor.dtype in _OTHER_FLOATS else tensor.dtype,
            name=tensor._keras_history[0].name,
        )
        for tensor in graph.inputs
    ]
    values: dict[int, Any] = dict(enumerate(inputs))
    for step in steps:
        if step.outputs[0] in equal:
            values[step.outputs[0]] = values[equal[step.outputs[0]]]
            continue
        given = [values[number] for number in step.inputs]
        copy = copies.get(id(step.call.layer))
        if copy and copy.lost_mark:
            given = [marks.carrier(keras.layers, copy.lost_mark, copy.name)(*given)]
        args, kwargs = step.call.arguments(given)
        results = (copy or step.call.layer)(*args, **kwargs)
        values.update(zip(step.outputs, tree_of(keras).flatten(results), strict=True))
    with deep_recursion():
        folded = keras.models.Model(
            tree_of(keras).pack_sequence_as(structure(graph, "inputs"), inputs),
            tree_of(keras).pack_sequence_as(structure(graph, "outputs"), [values[number] for number in outputs]),
            name=model.name,
        )
    marks.remember(folded, marks.read_mark(model))
    return folded


def batch_norm_as_scaling(layer: Any, rank: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Return a batch norm's axis, and its factor and summand for each channel, in float64."""
    weights = {
        role(weight.name): np.asarray(value, np.float64)
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
    scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + layer.epsilon)
    offset = weights.get("beta", 0.0) - weights["moving_mean"] * scale
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    return axis % rank, scale, offset


def _as_pixel(pooling: LayerCall) -> tuple[int, ...]:
    """Return the shape, without the batch, of the one pixel that a global pooling can give instead of a vector."""
    shape = [1] * (len(pooling.inputs[0].shape) - 1)
    shape[0 if pooling.layer.data_format == "channels_first" else -1] = pooling.outputs[0].shape[-1]
    return tuple(shape)


def _gives_channels(layer: Any, axis: int, rank: int) -> bool:
    """Return whether a layer that is linear until there returns its channels unchanged on this axis."""
    own = 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
    return axis == own and getattr(getattr(layer, "activation", None), "__name__", None) == "linear"
