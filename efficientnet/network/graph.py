"""The one graph builder, for whichever Keras it is handed.

The graph holds only layers that come with Keras, so that a saved model opens with plain Keras. The modules
of that Keras (``backend``, ``layers``, ``models``, ``utils``) are arguments, as the keras_applications
convention has them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..common import arguments
from ..family import scaling
from ..family.scaling import Block
from ..family.variants import Variant
from ..images.pixel_scaling import Scaling, scale_and_offset
from . import condconv
from .backends import deep_recursion
from .initializers import (
    CONV_INITIALIZER,
    call_drawing_weights,
    classifier_initializer,
    generator,
    scaled_conv_initializer,
)

POOLINGS = (None, "avg", "max")


class Framework(NamedTuple):
    """The modules of one Keras."""

    backend: Any
    layers: Any
    models: Any
    utils: Any


class Graph(NamedTuple):
    """What every part of the graph is built with.

    ``call(layer, x)`` calls a new layer for the first time; see :func:`call_drawing_weights`.
    """

    variant: Variant
    keras: Framework
    channel_axis: int
    call: Callable[[Any, Any], Any]


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
    preprocessing: str | Scaling | None = None,
    features_only: bool = False,
    name: str | None = None,
    draw_weights: bool = True,
    fresh_classifier: bool = False,
) -> Any:
    """Builds a variant as a functional Keras model (arXiv 1905.11946, table 1).

    Args:
        variant: a row of the table, or one of your own.
        keras: the modules to build with.
        include_top: whether to end in the classifier.
        input_tensor: a Keras tensor, (batch, height, width, channels), to build on instead of a new input.
        input_shape: without the batch; sides of at least 32 pixels or None. The variant's own by default; without a
            classifier any (of networks with experts, too, the variant's own, since their graph holds it).
        pooling: without a top: None for the last feature map, ``"avg"`` or ``"max"`` for vectors.
        classes: outputs of the classifier; the variant's own by default.
        classifier_activation: of the classifier; None for logits.
        dropout_rate: before the classifier, 0..1; the variant's own by default.
        drop_connect_rate: stochastic depth of the deepest block, 0..1.
        preprocessing: a mode of ``preprocess_input``, or its numbers, to put in front, so that the model takes raw
            pixels 0..255; None for none.
        features_only: five outputs instead: what the last block at each stride 2, 4, 8, 16, 32 gives.
        name: of the model; the variant's by default.
        draw_weights: False leaves kernels zero, for a caller that fills them at once.
        fresh_classifier: whether the classifier is a new one on a trained body: it starts at zero, and so with the same
            probability for each class. Random weights would shout down what it learns first: the features of a
            trained body are large.

    Returns:
        A Keras model from (batch, height, width, channels) to (batch, classes) probabilities, to
        (batch, height / 32, width / 32, filters), to (batch, filters), or to a list of five feature maps.

    Raises:
        ValueError, TypeError: an argument is out of its range; the message says which and what is.
    """
    classes = _check_options(pooling, features_only, classes, dropout_rate, drop_connect_rate)
    layers = keras.layers
    _check_activation(layers, classifier_activation)
    channels_first = keras.backend.image_data_format() == "channels_first"
    call = functools.partial(call_drawing_weights, generator() if draw_weights else None)
    graph = Graph(variant, keras, 1 if channels_first else 3, call)

    blocks = scaling.scale_blocks(variant)
    images = _input(graph, input_tensor, input_shape, default_side(variant, include_top and not features_only))
    x = images
    if preprocessing is not None:
        if images.shape[graph.channel_axis] != 3:
            raise ValueError(
                f"include_preprocessing=True takes RGB, 3 channels; got an input of shape {tuple(images.shape)[1:]}."
            )
        scale, offset = (np.reshape(v, (3, 1, 1) if channels_first else 3) for v in scale_and_offset(preprocessing))
        x = layers.Rescaling(scale.tolist(), offset.tolist(), name="rescaling")(x)

    x = _conv_norm(graph, x, scaling.stem_filters(variant), "stem_", kernel_size=3, strides=2)
    stride, feature_maps = 2, {2: x}
    for block in blocks:
        x = _mb_conv(graph, x, block, drop_connect_rate * block.drop_connect_fraction)
        stride *= block.strides
        feature_maps[stride] = x
    if features_only:
        x = list(feature_maps.values())
    else:
        x = _conv_norm(graph, x, scaling.head_filters(variant), "top_")
        if include_top:
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
            dropout_rate = variant.dropout_rate if dropout_rate is None else dropout_rate
            if dropout_rate > 0:
                x = layers.Dropout(dropout_rate, name="top_dropout")(x)
            classes = variant.classes if classes is None else classes
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


def default_side(variant: Variant, has_classifier: bool) -> int | None:
    """The side of the input where none is given, pixels; None for any: a classifier and experts need to know it."""
    needs_size = has_classifier or any(block.experts > 1 for block in variant.blocks)
    return variant.resolution if needs_size else None


def _mb_conv(graph: Graph, inputs: Any, block: Block, drop_rate: float) -> Any:
    """Mobile inverted bottleneck: expand, depthwise, squeeze and excite, project, add.

    A fused one (arXiv 2104.00298, section 3.2) has one full convolution for the first two; and where it does not
    expand, for all three, with an activation behind it. With experts, the kernels are each image's own.
    """
    layers = graph.keras.layers
    prefix = f"{block.name}_"
    spatial, pointwise = (block.kernel_size, block.strides), (1, 1)
    routing = condconv.routing_weights(graph, inputs, block) if block.experts > 1 else None
    x = inputs
    if block.expands:
        size = spatial if block.fused else pointwise
        x = _conv_norm(graph, x, block.expanded_filters, f"{prefix}expand_", *size, routing=routing)
    if not block.fused:
        x = _norm(graph, _depthwise(graph, x, block, routing), prefix)
        x = layers.Activation(graph.variant.activation, name=f"{prefix}activation")(x)
    if block.se_filters:
        x = _squeeze_excite(graph, x, block)
    is_single = block.fused and not block.expands
    size = spatial if is_single else pointwise
    x = _conv_norm(graph, x, block.output_filters, f"{prefix}project_", *size, activation=is_single, routing=routing)
    if block.residual:
        if drop_rate > 0:
            # Stochastic depth: one draw for each image of the batch (arXiv 1603.09382).
            x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
        x = layers.Add(name=f"{prefix}add")([x, inputs])
    return x


def _depthwise(graph: Graph, x: Any, block: Block, routing: Any = None) -> Any:
    name = f"{block.name}_dwconv" if routing is None else f"{block.name}_dw_experts"
    x, padding = _pad(graph, x, name, block.kernel_size, block.strides)
    depthwise = graph.keras.layers.DepthwiseConv2D(
        block.kernel_size,
        strides=block.strides,
        padding=padding,
        depth_multiplier=block.experts,
        use_bias=False,
        depthwise_initializer=scaled_conv_initializer(block.experts),
        name=name,
    )
    x = graph.call(depthwise, x)
    return x if routing is None else condconv.mix_outputs(graph, x, routing, f"{block.name}_dw")


def _pad(graph: Graph, x: Any, name: str, kernel_size: int, strides: int) -> tuple[Any, str]:
    """What a convolution is called with, and the ``padding`` that it gets, so that it pads as the variant does."""
    if strides == 1 or graph.variant.padding == "same":  # with a stride of 1 both are symmetric
        return x, "same"
    return graph.keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def _squeeze_excite(graph: Graph, x: Any, block: Block) -> Any:
    """Scales each channel by a gate computed from all channels' averages (arXiv 1709.01507)."""
    layers = graph.keras.layers
    prefix = f"{block.name}_se_"
    vector = (1, 1, block.expanded_filters) if graph.channel_axis == 3 else (block.expanded_filters, 1, 1)
    gate = layers.GlobalAveragePooling2D(name=f"{prefix}squeeze")(x)
    gate = layers.Reshape(vector, name=f"{prefix}reshape")(gate)
    for part, filters, activation in (
        ("reduce", block.se_filters, graph.variant.activation),
        ("expand", block.expanded_filters, "sigmoid"),
    ):
        conv = layers.Conv2D(
            filters,
            1,
            padding="same",
            activation=activation,
            kernel_initializer=CONV_INITIALIZER,
            name=f"{prefix}{part}",
        )
        gate = graph.call(conv, gate)
    return layers.Multiply(name=f"{prefix}excite")([x, gate])


def _conv_norm(
    graph: Graph,
    x: Any,
    filters: int,
    prefix: str,
    kernel_size: int = 1,
    strides: int = 1,
    activation: bool = True,
    routing: Any = None,
) -> Any:
    """Convolution without bias, batch norm, activation."""
    name = f"{prefix}conv"
    if routing is not None:
        x = condconv.pointwise(graph, x, routing, filters, prefix)
    else:
        x, padding = _pad(graph, x, name, kernel_size, strides)
        conv = graph.keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=False,
            kernel_initializer=CONV_INITIALIZER,
            name=name,
        )
        x = graph.call(conv, x)
    x = _norm(graph, x, prefix)
    if activation:
        x = graph.keras.layers.Activation(graph.variant.activation, name=f"{prefix}activation")(x)
    return x


def _norm(graph: Graph, x: Any, prefix: str) -> Any:
    norm = graph.keras.layers.BatchNormalization(
        axis=graph.channel_axis,
        momentum=graph.variant.batch_norm_momentum,
        epsilon=graph.variant.batch_norm_epsilon,
        name=f"{prefix}bn",
    )
    return graph.call(norm, x)


def _check_options(
    pooling: str | None,
    features_only: bool,
    classes: int | None,
    dropout_rate: float | None,
    drop_connect_rate: float,
) -> int | None:
    """Checks them; returns the number of classes as Keras takes it."""
    arguments.choice("pooling", pooling, POOLINGS)
    if features_only and pooling is not None:
        raise ValueError(f"pooling={pooling!r} with features_only=True: feature maps are not pooled; leave one out.")
    if dropout_rate is not None:
        arguments.fraction("dropout_rate", dropout_rate)
    arguments.fraction("drop_connect_rate", drop_connect_rate)
    return None if classes is None else arguments.whole("classes", classes)


def _check_activation(layers: Any, activation: Any) -> None:
    """Refuses what Keras knows no activation by, before the network is built."""
    try:
        layers.Activation(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"classifier_activation={activation!r}: expected the name of one of Keras' activations, such as 'softmax' "
            "or 'sigmoid', a function, or None for logits."
        ) from None


def _input(graph: Graph, tensor: Any, shape: Sequence[int | None] | None, default: int | None) -> Any:
    """The input layer's tensor, or the checked tensor that was given."""
    if tensor is not None:
        try:
            is_keras_tensor = graph.keras.backend.is_keras_tensor(tensor)
        except ValueError:  # legacy Keras refuses to tell of anything but TensorFlow's tensors
            is_keras_tensor = False
        if not is_keras_tensor:
            raise TypeError(
                f"input_tensor is a {type(tensor).__name__}: expected a Keras tensor of the same Keras as the model, "
                "such as layers.Input(shape=(224, 224, 3)); to run the model on an array, call the model with it."
            )
        shape = tuple(tensor.shape)[1:]
    elif shape is None:
        square = (default, default)
        shape = (*square, 3) if graph.channel_axis == 3 else (3, *square)
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
    sides = shape[:2] if graph.channel_axis == 3 else shape[1:]
    if any(side is not None and side < scaling.MIN_RESOLUTION for side in sides):
        raise ValueError(
            f"input_shape={shape}: height and width have to be at least {scaling.MIN_RESOLUTION} pixels, since the "
            "network halves them five times; enlarge the images."
        )
    return graph.keras.layers.Input(shape=shape) if tensor is None else tensor
