"""Conditionally parameterised convolutions: each image has its own kernels, mixed from those of experts.

Source: CondConv, arXiv 1904.04971, section 3. Like the whole graph, they consist of Keras' own layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .initializers import DENSE_INITIALIZER, scaled_conv_initializer

if TYPE_CHECKING:
    from ..family.scaling import Block
    from .context import Graph


def routing_weights(graph: Graph, inputs: Any, block: Block) -> Any:
    """Return the weight of each expert for an image: (batch, experts), each 0..1 (equation 2)."""
    layers = graph.keras.layers
    pooled = layers.GlobalAveragePooling2D(name=f"{block.name}_routing_squeeze")(inputs)
    dense = layers.Dense(
        block.experts, activation="sigmoid", kernel_initializer=DENSE_INITIALIZER, name=f"{block.name}_routing"
    )
    return graph.call(dense, pooled)


def pointwise(graph: Graph, x: Any, routing: Any, filters: int, prefix: str) -> Any:
    """Add a 1 x 1 convolution by the mixed kernel, which a dense layer on the routing mixes for each image.

    That layer, ``…_experts``, holds the experts' kernels: (experts, channels · filters).
    """
    layers = graph.keras.layers
    channels = int(x.shape[graph.channel_axis])
    dense = layers.Dense(
        channels * filters,
        use_bias=False,
        kernel_initializer=scaled_conv_initializer(channels),  # by the filters alone, not by all of a row
        name=f"{prefix}experts",
    )
    kernel = layers.Reshape((channels, filters), name=f"{prefix}kernel")(graph.call(dense, routing))
    if graph.channel_axis == 3:
        return layers.Dot(axes=(3, 1), name=f"{prefix}conv")([x, kernel])
    return layers.Dot(axes=(1, 1), name=f"{prefix}conv")([kernel, x])


def mix_outputs(graph: Graph, x: Any, routing: Any, prefix: str) -> Any:
    """Return the weighted sum of the experts' outputs, which for a linear layer is the output of the mixed kernel.

    Args:
        x: For each channel the outputs of all experts, side by side: (batch, height, width, channels · experts).
        routing: (batch, experts).

    Raises:
        ValueError: The height or width is unknown.
    """
    layers = graph.keras.layers
    shape = [*x.shape[1:]]
    if None in shape:
        raise ValueError(
            f"{graph.variant.name} mixes kernels for each image, which needs to know the images' size: give "
            "input_shape=(height, width, 3) without None."
        )
    experts = int(routing.shape[-1])
    axis = graph.channel_axis - 1
    mixed_shape = [side // experts if place == axis else side for place, side in enumerate(shape)]
    if graph.channel_axis == 3:
        x = layers.Reshape((math.prod(mixed_shape), experts), name=f"{prefix}split")(x)
    else:
        channels, height, width = mixed_shape
        x = layers.Reshape((channels, experts, height * width), name=f"{prefix}split")(x)
    x = layers.Dot(axes=(2, 1), name=f"{prefix}mix")([x, routing])
    return layers.Reshape(tuple(mixed_shape), name=f"{prefix}conv")(x)
