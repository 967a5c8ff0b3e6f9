"""The preparation of a model's pixels, from the mark in the network and the layers in front of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints.architecture import normalization
from ..checkpoints.marks import IDLE, Mark, of_config
from ..images.pixel_scaling import Scaling, is_of_pixels
from ..images.pixels import as_array
from .walk import LayerCall, functional, keras_layer, keras_operation, run

_LAYER = "stem_conv"
_ATTRIBUTE = "efficientnet_mark"

# Those that move them to another place, too.
_MOVING = ("Permute", "Reshape", "Concatenate")
# Operations on a tensor and numbers, as Keras 3 and legacy Keras call them.
_ARITHMETIC = re.compile(r"(?:.*\.)?(add|subtract|multiply|(?:true_?)?div(?:ide)?)(?:v2)?(?:_\d+)?", re.IGNORECASE)
_CAST = re.compile(r"(?:.*\.)?cast", re.IGNORECASE)


class _Levels(NamedTuple):
    """What has become of the levels that a model was given: levels * scale + offset, of all channels or of each."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)

    @property
    def are_given(self) -> bool:
        """Whether they are as they were given."""
        return set(self.scale) == {1.0} and set(self.offset) == {0.0}

    @property
    def are_of_pixels(self) -> bool:
        """Whether they were pixels 0..255, and are scaled."""
        return not self.are_given and is_of_pixels(*self)

    def then(self, scale: Any, offset: Any) -> _Levels | None:
        """Return the levels * scale + offset; None if these are not a number or one for each channel."""
        try:
            scale, offset = (_one_axis(values) for values in (scale, offset))
            scale, offset = scale * np.array(self.scale), np.array(self.offset) * scale + offset
        except ValueError:
            return None
        is_finite = np.isfinite(scale).all() and np.isfinite(offset).all()
        return _Levels(tuple(map(float, scale)), tuple(map(float, offset))) if is_finite else None


def _one_axis(values: Any) -> Any:
    """Return a number, or one of each channel, as an array of one axis."""
    array = np.asarray(values, float)
    if array.size != max(array.shape, default=1):
        raise ValueError("numbers of each place")
    return array.reshape(-1)


def put(model: Any, mark: Mark) -> None:
    """Write a mark into a network that this package built."""
    layer = model.get_layer(_LAYER)
    config = {**layer.get_config(), "bias_initializer": {"class_name": "Constant", "config": {"value": mark.to_text()}}}
    layer.bias_initializer = type(layer).from_config(config).bias_initializer


def carrier(layers: Any, mark: Mark, name: str) -> Any:
    """Return a layer that changes nothing and holds a mark, for a convolution that uses its bias.

    Args:
        layers: Module of the Keras that it is made of.
        mark: Mark that it holds.
        name: Name of the convolution.
    """
    # Always float32, whatever policy is set for new layers, or it would round the pixels.
    return layers.Dropout(0.0, seed=mark.to_text(), name=f"{name}_mark", dtype="float32")


def remember(model: Any, mark: Mark) -> None:
    """Note on a model, in memory only, what :func:`read_mark` would not find in its graph."""
    object.__setattr__(model, _ATTRIBUTE, mark)  # past Keras, which would make a part of the model of it


def read_mark(model: Any) -> Mark:
    """Return how the pixels of a model are to be prepared, as far as its notes, or else its graph, say it."""
    noted: Mark = getattr(model, _ATTRIBUTE, None) or Mark()
    if noted.preprocessing is not None and noted.crop is not None and noted.interpolation is not None:
        return noted
    derived = _derive(model)
    return Mark(
        derived.preprocessing if noted.preprocessing is None else noted.preprocessing,
        derived.crop if noted.crop is None else noted.crop,
        noted.interpolation or derived.interpolation,
        derived.is_known if noted.preprocessing is None else noted.is_known,
    )


def model_preprocessing(model: Any) -> str | Scaling:
    """Return how a model's pixels are scaled: what to give ``preprocess_input`` as ``mode``.

    Args:
        model: A Keras model with a network of this package in it, at any depth and however copied, saved and loaded;
            one that ``load_model`` opened from a file that says it; or one that begins with a layer that scales pixels.

    Returns:
        The mode that its weights were trained with; ``"none"`` where it takes raw pixels 0..255.

    Raises:
        ValueError: Neither the model nor its graph says it.
        TypeError: The argument is not a model.

    Example:
        >>> model_preprocessing(EfficientNet(0.25, 0.25, 32, weights=None))
        'torch'
        >>> model_preprocessing(EfficientNet(0.25, 0.25, 32, weights=None, include_preprocessing=True))
        'none'
    """
    if not hasattr(model, "get_config"):  # as every model and layer of Keras has
        raise TypeError(f"model={model!r}: expected a Keras model.")
    mode = read_mark(model).preprocessing
    if mode is None:
        raise ValueError(
            f"{getattr(model, 'name', model)} does not say how its pixels are scaled: give preprocess_input the mode "
            "that it was trained with, or build the network with include_preprocessing=True, so that it takes raw "
            "pixels."
        )
    return mode


def _derive(model: Any) -> Mark:
    """Derive the preparation from the graph: the network's mark, and the layers before it."""
    found: list[tuple[_Levels | None, Mark]] = []  # levels that arrive at each network, and its mark
    scales_first = False

    def follow(call: LayerCall, states: list[_Levels | None]) -> list[_Levels | None]:
        nonlocal scales_first
        levels = states[0] if len(set(states)) == 1 else None
        inner = getattr(call.layer, "layer", None)
        if keras_layer(call.layer) == "TimeDistributed" and inner is not None:
            return _follow_model(inner, [levels], follow)
        if (mark := of_layer(call.layer)) is not None:
            found.append((levels, mark))
        after = None if levels is None else _after(call, levels)
        scales_first |= after is None and levels is not None and levels.are_of_pixels
        return [after] * len(call.outputs)

    try:
        _follow_model(model, None, follow)
    except ValueError:  # it has no graph
        return Mark()
    if not found:
        return Mark("none") if scales_first else Mark()
    wanted = {_before(levels, mark) for levels, mark in found}
    return wanted.pop() if len(wanted) == 1 else Mark()


def _before(levels: _Levels | None, mark: Mark) -> Mark:
    """Return what a model says of the pixels in front of all its layers, where such levels arrive at a network."""
    if levels is not None and levels.are_given:
        return mark
    is_raw = levels is not None and levels.are_of_pixels
    return mark._replace(preprocessing="none", is_known=True) if is_raw else Mark()


def _follow_model(model: Any, states: Sequence[_Levels | None] | None, follow: Any) -> list[_Levels | None]:
    """Follow levels through a model; a Sequential one that does not know its input's shape, layer by layer."""
    try:
        count = len(functional(model).inputs)
    except ValueError:
        if type(model).__name__ != "Sequential":
            raise
        current = list(states or [_Levels()])
        for layer in model.layers:
            if hasattr(layer, "layers"):
                current = _follow_model(layer, current, follow)
            else:
                current = follow(LayerCall(layer, layer.name, [None], [None], None), current)
        return current
    return run(model, states or [_Levels()] * count, follow)


def of_layer(layer: Any) -> Mark | None:
    """Return the mark that a layer holds, if any."""
    if keras_layer(layer) == "Dropout":
        return of_config(layer.get_config())
    initializer: Any = getattr(layer, "bias_initializer", None)
    if type(initializer).__name__ != "Constant":
        return None
    config = {"use_bias": layer.use_bias, "bias_initializer": {"config": initializer.get_config()}}
    return of_config(config)


def _after(call: LayerCall, levels: _Levels) -> _Levels | None:
    """Return the levels after a layer; None where it does more than scaling them."""
    layer = call.layer
    kind = keras_layer(layer) or ""
    operation = keras_operation(layer) or ""
    if IDLE.fullmatch(kind) or kind in _MOVING or _CAST.fullmatch(operation):
        return levels
    if kind == "Activation" and getattr(layer.activation, "__name__", "") == "linear":
        return levels
    if kind == "Rescaling":
        return levels.then(layer.scale, layer.offset)
    if kind == "Normalization":
        return _normalized(layer, levels)
    if match := _ARITHMETIC.fullmatch(operation):
        return _calculated(match[1].lower(), call, levels)
    return None


def _normalized(layer: Any, levels: _Levels) -> _Levels | None:
    config = layer.get_config()
    numbers = [config.get("mean"), config.get("variance")]
    if any(value is None for value in numbers):
        numbers = layer.get_weights()[:2]  # the learned mean and variance
    if len(numbers) != 2 or config.get("invert"):
        return None
    mean, variance = (np.asarray(value, float) for value in numbers)
    return levels.then(*normalization(mean, variance))


def _calculated(operation: str, call: LayerCall, levels: _Levels) -> _Levels | None:
    """Return the levels after an operation on them and a number, or a number of each channel."""
    args, kwargs = call.arguments([None] * len(call.inputs))
    operands = [*args, *(value for name, value in kwargs.items() if name != "name")]
    places = [place for place, value in enumerate(operands) if value is not None]
    if len(call.inputs) != 1 or len(operands) != 2 or len(places) != 1:
        return None
    is_first = places == [0]
    try:
        number = np.asarray(as_array(operands[places[0]]), float)
    except (TypeError, ValueError):
        return None
    if operation == "add":
        return levels.then(1, number)
    if operation == "subtract":
        return levels.then(-1, number) if is_first else levels.then(1, -number)
    if operation == "multiply":
        return levels.then(number, 0)
    return None if is_first or not number.all() else levels.then(1 / number, 0)
