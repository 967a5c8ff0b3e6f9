"""The blocks of a network: convolutions with batch norm, and the mobile inverted bottleneck."""

from __future__ import annotations

from typing import Any

from ..family.description import pads_symmetrically
from ..family.scaling import Block
from . import condconv
from .context import Graph
from .initializers import CONV_INITIALIZER, scaled_conv_initializer


def mb_conv(graph: Graph, inputs: Any, block: Block, drop_rate: float) -> Any:
    """Add a mobile inverted bottleneck: expand, depthwise, squeeze and excite, project, add.

    A fused one (arXiv 2104.00298, section 3.2) has one full convolution for the first two; and where it does not
    expand, for all three, with an activation behind it. With experts, the kernels are each image's own.
    """
    layers = graph.keras.layers
    prefix = f"{block.name}_"
    spatial, pointwise = (block.kernel_size, block.strides, block.dilation), (1, 1, 1)
    routing = condconv.routing_weights(graph, inputs, block) if block.experts > 1 else None
    x = inputs
    if block.expands:
        size = spatial if block.fused else pointwise
        x = conv_norm(graph, x, block.expanded_filters, f"{prefix}expand_", *size, fused=block.fused, routing=routing)
    if not block.fused:
        x = _norm(graph, _depthwise(graph, x, block, routing), prefix)
        x = layers.Activation(graph.variant.activation, name=f"{prefix}activation")(x)
    if block.se_filters:
        x = _squeeze_excite(graph, x, block)
    is_single = block.fused and not block.expands
    size = spatial if is_single else pointwise
    x = conv_norm(
        graph, x, block.output_filters, f"{prefix}project_", *size, activation=is_single, fused=is_single,
        routing=routing,
    )  # fmt: skip
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
        dilation_rate=block.dilation,
        padding=padding,
        depth_multiplier=block.experts,
        use_bias=False,
        depthwise_initializer=scaled_conv_initializer(block.experts),
        name=name,
    )
    x = graph.call(depthwise, x)
    return x if routing is None else condconv.mix_outputs(graph, x, routing, f"{block.name}_dw")


def _pad(graph: Graph, x: Any, name: str, kernel_size: int, strides: int, fused: bool = False) -> tuple[Any, str]:
    """Return the input and the ``padding`` of a convolution, so that it pads as the variant does."""
    # With a stride of 1 "same" is symmetric.
    if strides == 1 or not pads_symmetrically(graph.variant.padding, fused):
        return x, "same"
    return graph.keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def _squeeze_excite(graph: Graph, x: Any, block: Block) -> Any:
    """Scale each channel by a gate computed from all channels' averages (arXiv 1709.01507)."""
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


def conv_norm(
    graph: Graph,
    x: Any,
    filters: int,
    prefix: str,
    kernel_size: int = 1,
    strides: int = 1,
    dilation: int = 1,
    activation: bool = True,
    fused: bool = False,
    routing: Any = None,
) -> Any:
    """Add a convolution without bias, a batch norm and an activation."""
    name = f"{prefix}conv"
    if routing is not None:
        x = condconv.pointwise(graph, x, routing, filters, prefix)
    else:
        x, padding = _pad(graph, x, name, kernel_size, strides, fused)
        conv = graph.keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation,
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
