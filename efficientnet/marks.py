"""How a model's pixels are to be prepared: written in the network itself, and derived from the graph around it.

The first convolution of a network has no bias, hence no use for its option ``bias_initializer``; but every Keras keeps
that option through clone_model, pickle, deepcopy, saving and loading, and in models around the network. There the mark
stands, as a text of JSON, and plain Keras passes over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .layer_calls import LayerCall, functional, keras_layer, keras_operation, run
from .pixel_scaling import Scaling

_KEY = "efficientnet"
_LAYER = "stem_conv"
_ATTRIBUTE = "efficientnet_mark"

# Layers that leave the levels of pixels unchanged where a model only predicts.
IDLE = re.compile(
    r"InputLayer|Identity|Resizing|CenterCrop|Cropping2D|ZeroPadding2D|Dropout|SpatialDropout2D|Gaussian(Noise|Dropout)"
    r"|Random\w+|AutoContrast|RandAugment|AugMix|CutMix|MixUp"
)
# Those that move them to another place, too.
_MOVING = ("Permute", "Reshape", "Concatenate")
_SCALING = ("Rescaling", "Normalization")
# Operations on a tensor and numbers, as Keras 3 and legacy Keras call them.
_ARITHMETIC = re.compile(r"(?:.*\.)?(add|subtract|multiply|(?:true_?)?div(?:ide)?)(?:v2)?(?:_\d+)?", re.IGNORECASE)
_CAST = re.compile(r"(?:.*\.)?cast", re.IGNORECASE)

# What has become of the levels that a model was given.
_GIVEN, _SCALED, _OTHER = "given", "scaled", "other"


class Mark(NamedTuple):
    """How pixels are to be prepared for a network; None where it is not known.

    Attributes:
        preprocessing: the mode of ``preprocess_input``, or its numbers.
        crop: the part of an image's shorter side that is kept, 0..1.
        interpolation: of the resizing after that.
        is_known: whether the mode is that of the weights; False where these were random, so that it is merely
            what the constructor proposes.
    """

    preprocessing: str | Scaling | None = None
    crop: float | None = None
    interpolation: str | None = None
    is_known: bool = True


def put(model: Any, mark: Mark) -> None:
    """Writes a mark into a network that this package built."""
    layer = model.get_layer(_LAYER)
    values = {name: value for name, value in mark._asdict().items() if value is not None}
    text = json.dumps({_KEY: values})
    config = {**layer.get_config(), "bias_initializer": {"class_name": "Constant", "config": {"value": text}}}
    layer.bias_initializer = type(layer).from_config(config).bias_initializer


def of_config(config: Mapping[str, Any]) -> Mark | None:
    """The mark in the configuration of a layer; None where there is none."""
    initializer = config.get("bias_initializer")
    if config.get("use_bias") is not False or not isinstance(initializer, Mapping):
        return None
    options = initializer.get("config")
    text = options.get("value") if isinstance(options, Mapping) else None
    if not isinstance(text, str) or _KEY not in text:
        return None
    try:
        values = json.loads(text)[_KEY]
        mode = values.get("preprocessing")
        mode = Scaling(*map(tuple, mode)) if isinstance(mode, list) else mode
        known = {name: values[name] for name in ("crop", "interpolation", "is_known") if name in values}
        return Mark(mode, **known)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # a text of somebody else's


def remember(model: Any, mark: Mark) -> None:
    """Notes on a model, in memory only, what :func:`read` would not find in its graph."""
    object.__setattr__(model, _ATTRIBUTE, mark)  # past Keras, which would make a part of the model of it


def read(model: Any) -> Mark:
    """How the pixels of a model are to be prepared, as far as its notes, or else its graph, say it."""
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
        TypeError: It is no model.
    """
    if not hasattr(model, "get_config"):  # as every model and layer of Keras has
        raise TypeError(f"model={model!r}: expected a Keras model.")
    mode = read(model).preprocessing
    if mode is None:
        raise ValueError(
            f"{getattr(model, 'name', model)} does not say how its pixels are scaled: give preprocess_input the mode "
            "that it was trained with, or build the network with include_preprocessing=True, so that it takes raw "
            "pixels."
        )
    return mode


def _derive(model: Any) -> Mark:
    """What the graph says: the network's mark, and which layers stand before it."""
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
        if (mark := _of_layer(call.layer)) is not None:
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
    """Follows levels through a model; a Sequential one that does not know its input's shape, layer by layer."""
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


def _of_layer(layer: Any) -> Mark | None:
    initializer: Any = getattr(layer, "bias_initializer", None)
    if type(initializer).__name__ != "Constant":
        return None
    config = {"use_bias": layer.use_bias, "bias_initializer": {"config": initializer.get_config()}}
    return of_config(config)


def _after(call: LayerCall, state: str) -> str:
    """What a layer makes of levels."""
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
