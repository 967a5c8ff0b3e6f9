"""The end of a network: feature maps, or vectors, or a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..family import features, scaling
from .blocks import conv_norm
from .context import Graph
from .initializers import classifier_initializer
from .options import Options


def feature_maps(graph: Graph, by_stride: Mapping[int, Any], options: Options) -> Any:
    """Return the chosen ones of the feature maps at each stride, that without dilation: a list or a dictionary."""
    chosen = features.chosen_strides(graph.variant, options.out_strides)
    maps = {features.level(stride): by_stride[stride] for stride in chosen}
    return maps if options.named_features else [*maps.values()]


def head(graph: Graph, x: Any, options: Options, fresh_classifier: bool) -> Any:
    """Add the last convolution, and the pooling and the classifier that are asked for."""
    layers, variant = graph.keras.layers, graph.variant
    x = conv_norm(graph, x, scaling.head_filters(variant), "top_")
    if not options.include_top:
        if options.pooling == "avg":
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        elif options.pooling == "max":
            x = layers.GlobalMaxPooling2D(name="max_pool")(x)
        return x
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    dropout_rate = variant.dropout_rate if options.dropout_rate is None else options.dropout_rate
    if dropout_rate > 0:
        x = layers.Dropout(dropout_rate, name="top_dropout")(x)
    classes = variant.classes if options.classes is None else int(options.classes)
    classifier = layers.Dense(
        classes,
        activation=options.classifier_activation,
        kernel_initializer="zeros" if fresh_classifier else classifier_initializer(classes),
        name="probs",
        # Half precision is too coarse for probabilities and their loss.
        dtype="float32" if "float16" in str(x.dtype) else None,
    )
    return graph.call(classifier, x)
