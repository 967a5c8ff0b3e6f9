"""The input of a network, and the scaling of its pixels."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np

from ..family import scaling
from ..images.pixel_scaling import Scaling, for_channels, numbers_for
from .context import Graph
from .options import Options


def input_layer(graph: Graph, options: Options, is_scaled: bool) -> Any:
    """Return the input layer's tensor, or the checked tensor that was given.

    Args:
        is_scaled: Whether the network scales pixels itself, and so takes whole numbers, too.
    """
    tensor, shape, channels = options.input_tensor, options.input_shape, options.in_channels
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
        if not is_scaled and "float" not in str(tensor.dtype):
            raise TypeError(
                f"input_tensor is of {tensor.dtype}: expected floating numbers. include_preprocessing=True takes whole "
                "ones, the raw pixels."
            )
        shape = tuple(tensor.shape)[1:]
    elif shape is None:
        # A classifier and experts need to know the size.
        needs_size = options.has_classifier or any(block.experts > 1 for block in graph.variant.blocks)
        side, count = graph.variant.resolution if needs_size else None, channels or 3
        shape = (side, side, count) if graph.channel_axis == 3 else (count, side, side)
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
    if tensor is not None and options.input_shape is not None and not _agree(shape, tuple(options.input_shape)):
        raise ValueError(
            f"input_shape={options.input_shape} with an input_tensor of shape {shape}: make them equal, or leave "
            "input_shape out."
        )
    sides = shape[:2] if graph.channel_axis == 3 else shape[1:]
    # A given tensor may be smaller, as for 1.1.1: the network pads, and halves a single place to one.
    if tensor is None and any(side is not None and side < scaling.MIN_RESOLUTION for side in sides):
        raise ValueError(
            f"input_shape={shape}: expected {order}, height and width of at least {scaling.MIN_RESOLUTION} pixels, as "
            "the network halves them five times; enlarge smaller images."
        )
    return graph.keras.layers.Input(shape=shape) if tensor is None else tensor


def _agree(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Return whether two shapes are the same where both are known."""
    sides = itertools.zip_longest(shape, other, fillvalue=0)
    return all(None in pair or pair[0] == pair[1] for pair in sides)


def scale_pixels(graph: Graph, x: Any, preprocessing: str | Scaling, grey_as_rgb: bool) -> Any:
    """Add the scaling of pixels 0..255; see ``efficientnet.model.build``."""
    layers = graph.keras.layers
    if grey_as_rgb and x.shape[graph.channel_axis] == 1 and for_channels(preprocessing, 1) != preprocessing:
        x = layers.Concatenate(graph.channel_axis, name="grey_to_rgb")([x, x, x])
    count = x.shape[graph.channel_axis]
    each = (count, 1, 1) if graph.channel_axis == 1 else count
    scale, offset = (np.reshape(values, each) for values in numbers_for(preprocessing, count))
    return layers.Rescaling(scale.tolist(), offset.tolist(), name="rescaling")(x)
