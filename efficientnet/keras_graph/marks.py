"""The preparation of a model's pixels, from the mark in the network and the layers in front of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..checkpoints.marks import IDLE, Mark, of_config
from ..images.pixel_scaling import Scaling
from .walk import LayerCall, functional, keras_layer, keras_operation, run

_LAYER = "stem_conv"
_ATTRIBUTE = "efficientnet_mark"

# Those that move them to another place, too.
_MOVING = ("Permute", "Reshape", "Concatenate")
_SCALING = ("Rescaling", "Normalization")
# Operations on a tensor and numbers, as Keras 3 and legacy Keras call them.
_ARITHMETIC = re.compile(r"(?:.*\.)?(add|subtract|multiply|(?:true_?)?div(?:ide)?)(?:v2)?(?:_\d+)?", re.IGNORECASE)
_CAST = re.compile(r"(?:.*\.)?cast", re.IGNORECASE)

# What has become of the levels that a model was given.
_GIVEN, _SCALED, _OTHER = "given", "scaled", "other"


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
    return layers.Dropout(0.0, seed=mark.to_text(), name=f"{name}_mark")


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
    found: list[tuple[str, Mark]] = []  # what arrives at each network, and its mark
    scales_first = False

    def follow(call: LayerCall, states: list[str]) -> list[str]:
        nonlocal scales_first
        state, *others = states or [_OTHER]
        if any(other != state for other in others):
            state = _OTHER
        inner = getattr(call.layer, "layer", None)
        if keras_layer(call.layer) == "TimeDistributed" and inner is not None:
            return _follow_model(inner, [state], follow)
        if (mark := of_layer(call.layer)) is not None:
            found.append((state, mark))
        after = _after(call, state)
        scales_first |= state == _GIVEN and after == _SCALED
        return [after] * len(call.outputs)

    try:
        _follow_model(model, None, follow)
    except ValueError:  # it has no graph
        return Mark()
    if not found:
        return Mark("none") if scales_first else Mark()
    wanted = {mark._replace(preprocessing="none", is_known=True) if state == _SCALED else mark for state, mark in found}
    if len(wanted) > 1 or any(state == _OTHER for state, _ in found):
        return Mark()
    return wanted.pop()


def _follow_model(model: Any, states: Sequence[str] | None, follow: Any) -> list[str]:
    """Follow levels through a model; a Sequential one that does not know its input's shape, layer by layer."""
    try:
        count = len(functional(model).inputs)
    except ValueError:
        if type(model).__name__ != "Sequential":
            raise
        current = list(states or [_GIVEN])
        for layer in model.layers:
            if hasattr(layer, "layers"):
                current = _follow_model(layer, current, follow)
            else:
                current = follow(LayerCall(layer, layer.name, [None], [None], None), current)
        return current
    return run(model, states or [_GIVEN] * count, follow)


def of_layer(layer: Any) -> Mark | None:
    """Return the mark that a layer holds, if any."""
    if keras_layer(layer) == "Dropout":
        return of_config(layer.get_config())
    initializer: Any = getattr(layer, "bias_initializer", None)
    if type(initializer).__name__ != "Constant":
        return None
    config = {"use_bias": layer.use_bias, "bias_initializer": {"config": initializer.get_config()}}
    return of_config(config)


def _after(call: LayerCall, state: str) -> str:
    """Return the state of the levels after a layer."""
    kind = keras_layer(call.layer) or ""
    operation = keras_operation(call.layer) or ""
    if IDLE.fullmatch(kind) or kind in _MOVING or _CAST.fullmatch(operation):
        return state
    if kind == "Activation" and getattr(call.layer.activation, "__name__", "") == "linear":
        return state
    if kind == "Rescaling":
        factors = [call.layer.scale]
    elif kind == "Normalization":
        factors = []
    elif match := _ARITHMETIC.fullmatch(operation):
        args, kwargs = call.arguments([None] * len(call.inputs))
        numbers = [value for value in (*args, *kwargs.values()) if isinstance(value, (int, float)) and value]
        if not numbers or len(call.inputs) != 1:
            return _OTHER
        name = match[1].lower()
        factors = numbers if name == "multiply" else [1 / number for number in numbers] if "div" in name else []
    else:
        return _OTHER
    # What enlarges the levels that it is given is not given raw pixels.
    enlarges = any(abs(float(number)) > 1 for factor in factors for number in _flat(factor))
    return _OTHER if state == _OTHER or (state == _GIVEN and enlarges) else _SCALED


def _flat(value: Any) -> list[Any]:
    return [number for item in value for number in _flat(item)] if isinstance(value, (list, tuple)) else [value]
