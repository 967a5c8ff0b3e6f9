"""A variant as a functional Keras model, without trained weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..family import features, scaling
from ..family.variants import Variant
from ..images.pixel_scaling import Scaling, for_channels, numbers_for
from .backends import deep_recursion
from .blocks import conv_norm, mb_conv
from .context import Framework, Graph
from .initializers import call_drawing_weights, classifier_initializer, generator
from .inputs import default_side, input_layer


def build(
    variant: Variant,
    keras: Framework,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[[Any], Any] | None = "softmax",
    dropout_rate: float | None = None,
    drop_connect_rate: float = 0.2,
    in_channels: int | None = None,
    preprocessing: str | Scaling | None = None,
    grey_as_rgb: bool = False,
    features_only: bool = False,
    out_strides: Sequence[int] | None = None,
    output_stride: int = 32,
    named_features: bool = False,
    name: str | None = None,
    draw_weights: bool = True,
    fresh_classifier: bool = False,
) -> Any:
    """Build a variant as a functional Keras model of layers that come with Keras (arXiv 1905.11946, table 1).

    Args:
        variant: Row of the table, or a custom variant.
        keras: Modules of the Keras to build with.
        preprocessing: Mode of ``preprocess_input``, or its numbers, to put in front of the network; None for none.
        grey_as_rgb: Whether grey pixels become RGB before they are scaled, where the scaling is another for each color:
            zeros of the padding are then other levels in each, which no kernel for a single channel can do.
        draw_weights: Whether to draw random weights. False leaves kernels zero, for a caller that fills them at once.
        fresh_classifier: Whether the classifier is new on a trained body: it starts at zero, so with the same
            probability for each class. Random weights would drown what it learns first, as the features of a trained
            body are large.

    The other arguments, the result and the errors are those of ``efficientnet.model.assemble``.
    """
    layers = keras.layers
    channels_first = keras.backend.image_data_format() == "channels_first"
    call = functools.partial(call_drawing_weights, generator() if draw_weights else None)
    graph = Graph(variant, keras, 1 if channels_first else 3, call)

    side = default_side(variant, include_top and not features_only)
    x = images = input_layer(graph, input_tensor, input_shape, side, in_channels)
    if preprocessing is not None:
        if grey_as_rgb and x.shape[graph.channel_axis] == 1 and for_channels(preprocessing, 1) != preprocessing:
            x = layers.Concatenate(graph.channel_axis, name="grey_to_rgb")([x, x, x])
        count = x.shape[graph.channel_axis]
        each = (count, 1, 1) if channels_first else count
        scale, offset = (np.reshape(values, each) for values in numbers_for(preprocessing, count))
        x = layers.Rescaling(scale.tolist(), offset.tolist(), name="rescaling")(x)

    x = conv_norm(graph, x, scaling.stem_filters(variant), "stem_", kernel_size=3, strides=2)
    stride, feature_maps = 2, {2: x}  # by their strides without dilation
    blocks = scaling.scale_blocks(variant)
    for trained, block in zip(blocks, features.dilate(blocks, output_stride), strict=True):
        x = mb_conv(graph, x, block, drop_connect_rate * block.drop_connect_fraction)
        stride *= trained.strides
        feature_maps[stride] = x
    if features_only:
        chosen = features.chosen_strides(variant, out_strides)
        maps = {features.level(stride): feature_maps[stride] for stride in chosen}
        x = maps if named_features else [*maps.values()]
    else:
        x = conv_norm(graph, x, scaling.head_filters(variant), "top_")
        if include_top:
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
            dropout_rate = variant.dropout_rate if dropout_rate is None else dropout_rate
            if dropout_rate > 0:
                x = layers.Dropout(dropout_rate, name="top_dropout")(x)
            classes = variant.classes if classes is None else int(classes)
            classifier = layers.Dense(
                classes,
                activation=classifier_activation,
                kernel_initializer="zeros" if fresh_classifier else classifier_initializer(classes),
                name="probs",
                # Half precision is too coarse for probabilities and their loss.
                dtype="float32" if "float16" in str(x.dtype) else None,
            )
            x = call(classifier, x)
        elif pooling == "avg":
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        elif pooling == "max":
            x = layers.GlobalMaxPooling2D(name="max_pool")(x)

    inputs = images if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    with deep_recursion():
        return keras.models.Model(inputs, x, name=name or variant.name)
