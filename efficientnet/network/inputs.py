"""The input of a network, and the checks of what it is built with."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..common import arguments
from ..family import features, scaling
from ..family.variants import Variant
from .context import Graph

_POOLINGS = (None, "avg", "max")


def default_side(variant: Variant, has_classifier: bool) -> int | None:
    """Return the default side of the input, pixels; None for any. A classifier and experts need to know it."""
    needs_size = has_classifier or any(block.experts > 1 for block in variant.blocks)
    return variant.resolution if needs_size else None


def check_options(
    variant: Variant,
    layers: Any,
    *,
    in_channels: int | None,
    pooling: str | None,
    classes: int | None,
    dropout_rate: float | None,
    drop_connect_rate: float,
    classifier_activation: Any,
    features_only: bool,
    out_strides: Any,
    output_stride: int,
    named_features: bool,
) -> None:
    """Refuse options that cannot be, or not together, before weights are fetched."""
    arguments.choice("pooling", pooling, _POOLINGS)
    if features_only and pooling is not None:
        raise ValueError(f"pooling={pooling!r} with features_only=True: feature maps are not pooled; leave one out.")
    for name, value in (("in_channels", in_channels), ("classes", classes)):
        if value is not None:
            arguments.whole(name, value)
    if dropout_rate is not None:
        arguments.fraction("dropout_rate", dropout_rate)
    arguments.fraction("drop_connect_rate", drop_connect_rate)
    _check_activation(layers, classifier_activation)
    features.chosen_strides(variant, out_strides)
    arguments.choice("output_stride", output_stride, features.OUTPUT_STRIDES)
    arguments.flag("named_features", named_features)
    given = {"out_strides": out_strides is not None, "named_features": named_features}
    if not features_only and any(given.values()):
        option = next(name for name, is_given in given.items() if is_given)
        raise ValueError(f"{option}= is for feature maps: add features_only=True, or leave it out.")


def _check_activation(layers: Any, activation: Any) -> None:
    """Refuse an activation that Keras does not know, before the network is built."""
    try:
        layers.Activation(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"classifier_activation={activation!r}: expected the name of one of Keras' activations, such as 'softmax' "
            "or 'sigmoid', a function, or None for logits."
        ) from None


def input_layer(
    graph: Graph, tensor: Any, shape: Sequence[int | None] | None, default: int | None, channels: int | None = None
) -> Any:
    """Return the input layer's tensor, or the checked tensor that was given."""
    if tensor is not None:
        try:
            is_keras_tensor = graph.keras.backend.is_keras_tensor(tensor)
        except ValueError:  # legacy Keras accepts only TensorFlow's tensors here
            is_keras_tensor = False
        if not is_keras_tensor:
            raise TypeError(
                f"input_tensor is a {type(tensor).__name__}: expected a Keras tensor of the same Keras as the model, "
                "such as layers.Input(shape=(224, 224, 3)); to run the model on an array, call the model with it."
            )
        shape = tuple(tensor.shape)[1:]
    elif shape is None:
        square, count = (default, default), channels or 3
        shape = (*square, count) if graph.channel_axis == 3 else (count, *square)
    order = "(height, width, channels)" if graph.channel_axis == 3 else "(channels, height, width)"
    try:
        shape = tuple(None if side is None else operator.index(side) for side in shape)
    except TypeError:
        raise TypeError(
            f"input_shape={shape!r}: expected {order}, whole numbers; height and width, in pixels, may be None."
        ) from None
    if len(shape) != 3 or shape[graph.channel_axis - 1] is None:
        raise ValueError(f"input_shape={shape}: expected {order}; height and width may be None, channels may not.")
    if (shape[graph.channel_axis - 1] or 0) < 1:
        raise ValueError(f"input_shape={shape}: expected {order} with at least one channel.")
    if channels is not None and shape[graph.channel_axis - 1] != channels:
        given = "input_shape" if tensor is None else "an input_tensor of shape "
        raise ValueError(f"in_channels={channels} with {given}={shape}: make them equal, or leave in_channels out.")
    sides = shape[:2] if graph.channel_axis == 3 else shape[1:]
    if any(side is not None and side < scaling.MIN_RESOLUTION for side in sides):
        raise ValueError(
            f"input_shape={shape}: height and width have to be at least {scaling.MIN_RESOLUTION} pixels, since the "
            "network halves them five times; enlarge the images."
        )
    return graph.keras.layers.Input(shape=shape) if tensor is None else tensor
