"""Grad-CAM and HiResCAM: the feature maps of a layer, weighted by the gradient of a class score, on every backend."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images.pixels import as_array
from ..keras_graph.walk import (
    LayerCall,
    averaged,
    backend_of,
    data_formats,
    functional,
    keras_layer,
    keras_of,
    only_trains,
    run,
)
from ..model_io.outputs import activation_after

_LAST_ACTIVATIONS = ("softmax", "sigmoid")
_ONLY_SHAPES = ("Flatten", "Reshape")
_SHOWN = 4  # layers that a message proposes


class CutNetwork:
    """A classifier in two parts: up to the layer that is looked at, and from there to the scores of the classes.

    A score is the output before the last softmax or sigmoid. The given model stays unchanged.
    """

    def __init__(self, model: Any, method: str, layer: str | None = None) -> None:
        """Find the layer and the last activation.

        Args:
            model: Functional or Sequential model from (batch, height, width, channels) to (batch, classes).
            method: "gradcam" or "hirescam".
            layer: As in ``explain``.

        Raises:
            ValueError: There is no such layer, or the backend computes no gradient of what is behind it.
        """
        self._model = model
        self._method = method
        self._backend = backend_of(model)
        self._channels_last = data_formats(model) != {"channels_first"}
        self._calls: list[LayerCall] = []
        # For each call, the calls that its inputs come from; -1 stands for the model's input.
        self._makers: list[list[int]] = []

        def note(call: LayerCall, makers: list[int]) -> list[int]:
            self._calls.append(call)
            self._makers.append(makers)
            return [len(self._calls) - 1] * len(call.outputs)

        (self._last,) = run(model, [-1], note)
        self._target = self._find(layer)
        self._behind = self._find_behind()
        self._score_layers = self._without_last_activation()
        self._kernel = self._closed_form() if self._backend == "openvino" else None

    def __call__(self, batch: NDArray[np.float32]) -> WeightedFeatures:
        """Compute the feature maps, and prepare the rest, for a batch of one image as the model takes it."""
        numbers = itertools.count()
        inputs: dict[int, list[Any]] = {}  # inputs of the calls behind the layer, by number
        features: list[Any] = []

        def apply(call: LayerCall, values: list[Any]) -> list[Any]:
            number = next(numbers)
            if number in self._behind:
                inputs[number] = values
                return [_Later(number, place) for place in range(len(call.outputs))]
            results = _compute(call.layer, call, values)
            if number != self._target:
                return results
            features.extend(results)
            return [_Later(number, 0)]

        with _no_gradients(self._backend):
            run(self._model, [_tensor(batch, self._model)], apply)

        def finish(at: Any, layers: dict[int, Any]) -> Any:
            """Return the outputs, (1, classes), for these feature maps; with other layers in the place of some."""
            known = {_Later(self._target, 0): at}
            for number, values in inputs.items():
                call = self._calls[number]
                given = [known[value] if isinstance(value, _Later) else value for value in values]
                results = _compute(layers.get(number, call.layer), call, given)
                known |= {_Later(number, place): result for place, result in enumerate(results)}
            return known[_Later(self._last, 0)]

        with _no_gradients(self._backend):
            outputs = _numbers(finish(features[0], {}))[0]

        def gradients(index: int) -> NDArray[np.float32]:
            if self._kernel is not None:
                weights: NDArray[np.float32] = self._kernel[:, index]
                return weights
            found = _gradient(lambda at: finish(at, self._score_layers)[0, index], features[0], self._backend)
            return self._as_channels_last(found)

        return WeightedFeatures(outputs, self._method, self._as_channels_last(features[0]), gradients)

    def _as_channels_last(self, tensor: Any) -> NDArray[np.float32]:
        maps: NDArray[np.float32] = _numbers(tensor)[0]
        return maps if self._channels_last else maps.transpose(1, 2, 0)

    def _find(self, layer: str | None) -> int:
        """Return the number of the call whose output is looked at."""
        needed = {self._last}
        for number in range(self._last, -1, -1):
            if number in needed:
                needed.update(self._makers[number])
        spatial = [number for number in sorted(needed) if number >= 0 and self._is_spatial(number)]
        names = [self._calls[number].name for number in spatial]
        if layer is None:
            matches = spatial
        else:
            exact = [number for number, name in zip(spatial, names, strict=True) if name == layer]
            matches = exact or [
                number for number, name in zip(spatial, names, strict=True) if name.startswith(f"{layer}/")
            ]
        if matches:
            return matches[-1]
        known = f"expected one such as {', '.join(names[: -_SHOWN - 1 : -1])}, or " if names else ""
        given = f"method={self._method!r}" if layer is None else f"layer={layer!r}"
        raise ValueError(
            f"{given}: {self._model.name} has no such layer with a spatial output, (batch, height, width, channels): "
            f"{known}the method 'occlusion', which needs no layer."
        )

    def _is_spatial(self, number: int) -> bool:
        """Return whether a call gives feature maps of more than one pixel."""
        shapes = [tuple(tensor.shape) for tensor in self._calls[number].outputs]
        if len(shapes) != 1 or len(shapes[0]) != 4:
            return False
        sides = shapes[0][1:3] if self._channels_last else shapes[0][2:]
        return sides != (1, 1)

    def _find_behind(self) -> set[int]:
        """Return the numbers of the calls that depend on the layer's output."""
        behind = {self._target}
        for number, makers in enumerate(self._makers):
            if not behind.isdisjoint(makers):
                behind.add(number)
        return behind - {self._target}

    def _without_last_activation(self) -> dict[int, Any]:
        """Return what to compute instead of the last softmax or sigmoid, by the number of the call."""
        number = self._last
        while number in self._behind:
            call = self._calls[number]
            activation = activation_after(call, ["unchanged"] * len(call.inputs))
            if activation in _LAST_ACTIVATIONS:
                is_only_activation = not getattr(call.layer, "weights", ())
                return {number: _unchanged if is_only_activation else _linear_copy(call)}
            if activation != "unchanged" or len(call.inputs) != 1:
                break
            (number,) = self._makers[number]
        return {}

    def _closed_form(self) -> NDArray[np.float32]:
        """Return each class score's gradient, (channels, classes), if global average pooling and a dense layer follow.

        It is the same everywhere: by pixels, a weight of the dense layer.
        """
        layers = [self._score_layers.get(number, self._calls[number].layer) for number in sorted(self._behind)]
        layers = [
            layer
            for layer in layers
            if layer is not _unchanged and not only_trains(layer) and keras_layer(layer) not in _ONLY_SHAPES
        ]
        if [keras_layer(layer) for layer in layers] != ["GlobalAveragePooling2D", "Dense"]:
            raise ValueError(
                f"Keras on OpenVINO computes no gradients, and {self._model.name} does not go on in global average "
                f"pooling and one dense layer behind {self._calls[self._target].name}: choose the method 'occlusion', "
                "or another backend (KERAS_BACKEND=tensorflow, jax or torch)."
            )
        return np.asarray(layers[1].get_weights()[0], np.float32)


def cut(model: Any, method: str, layer: str | None = None) -> list[CutNetwork]:
    """Cut a model; arguments and errors are those of :class:`CutNetwork`.

    A model whose output is the mean of several networks has one part for each, unless a layer of one is named.
    """
    outputs = averaged(model) if layer is None else []
    graph = functional(model)
    networks = [keras_of(model).models.Model(graph.inputs, output, name=model.name) for output in outputs]
    return [CutNetwork(network, method, layer) for network in networks or [model]]


class MeanEvidence(NamedTuple):
    """Mean evidence of several networks in one image; see ``explaining.Evidence``."""

    parts: Sequence[WeightedFeatures]

    @property
    def outputs(self) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = np.mean([part.outputs for part in self.parts], axis=0)
        return mean

    def of_class(self, index: int) -> NDArray[np.float32]:
        """Return the evidence for a class, (rows, columns), of the largest of the networks."""
        from PIL import Image

        found = [part.of_class(index) for part in self.parts]
        rows, columns = map(max, zip(*(evidence.shape for evidence in found), strict=True))
        resized = [np.asarray(Image.fromarray(evidence).resize((columns, rows))) for evidence in found]
        mean: NDArray[np.float32] = np.mean(resized, axis=0)
        return mean


class WeightedFeatures(NamedTuple):
    """Evidence of one image in the feature maps of a layer; see ``explaining.Evidence``.

    Attributes:
        outputs: (outputs,) of the model.
        method: "gradcam" or "hirescam".
        features: (rows, columns, channels).
        gradients: Function from the index of a class to the gradient of its score at the features, in their shape, or
            (channels,) if it is the same everywhere.
    """

    outputs: NDArray[np.float32]
    method: str
    features: NDArray[np.float32]
    gradients: Callable[[int], NDArray[np.float32]]

    def of_class(self, index: int) -> NDArray[np.float32]:
        """Return the evidence for a class, (rows, columns)."""
        weights = self.gradients(index)
        if self.method == "gradcam" and weights.ndim == 3:
            weights = weights.mean(axis=(0, 1))
        evidence: NDArray[np.float32] = (self.features * weights).sum(axis=-1)
        return evidence


class _Later(NamedTuple):
    """A value that depends on the feature maps: an output of a call."""

    number: int
    place: int


def _compute(layer: Any, call: LayerCall, values: Sequence[Any]) -> list[Any]:
    """Call a layer as in a prediction."""
    args, kwargs = call.arguments(values)
    if hasattr(call.node, "arguments") and "training" in kwargs:  # Keras 3 records it, and overrides it in `predict`
        kwargs = {**kwargs, "training": False}
    results = layer(*args, **kwargs)
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _unchanged(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _linear_copy(call: LayerCall) -> Any:
    """Return a copy of a layer, with its weights and without its activation."""
    copy = type(call.layer).from_config({**call.layer.get_config(), "activation": "linear"})
    copy.build(tuple(call.inputs[0].shape))
    copy.set_weights(call.layer.get_weights())
    return copy


def _gradient(function: Callable[[Any], Any], at: Any, backend: str) -> Any:
    """Return the gradient of a scalar function at a tensor."""
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(at)
            score = function(at)
        return tape.gradient(score, at)
    if backend == "jax":
        import jax

        return jax.grad(function)(at)
    import torch

    leaf = at.detach().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def _no_gradients(backend: str) -> contextlib.AbstractContextManager[Any]:
    """Keep PyTorch from storing values for gradients; other backends store none by themselves."""
    if backend != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def _tensor(batch: NDArray[np.float32], model: Any) -> Any:
    """Return an array as a tensor of the model's Keras."""
    keras = keras_of(model)
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_tensor(batch)
    return importlib.import_module("tensorflow").convert_to_tensor(batch)


def _numbers(tensor: Any) -> NDArray[np.float32]:
    if not hasattr(tensor, "__array__"):  # OpenVINO's
        tensor = importlib.import_module("keras").ops.convert_to_numpy(tensor)
    return as_array(tensor).astype(np.float32, copy=False)
