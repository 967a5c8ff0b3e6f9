"""What a network costs: counted from its description, without building anything.

Nothing here imports a framework.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..common import arguments
from .scaling import AnyVariant, head_filters, scale_blocks, stem_filters
from .variants import get_variant


@dataclass(frozen=True)
class Cost:
    """The cost of a network.

    Attributes:
        parameters: Number of trainable parameters, without the batch norms' moving statistics.
        macs: Multiply-adds of its convolutions and dense layers for one image. (The papers call them FLOPS.)
        activations: Numbers that its convolutions and dense layers give out for one image (arXiv 2003.13678).

    Example:
        >>> cost("b0")
        Cost(parameters=5288548, macs=385814752, activations=6748036)
    """

    parameters: int
    macs: int
    activations: int


class _Layer(NamedTuple):
    """A convolution, or a dense layer, whose output has a side of 1."""

    weights: int  # of one kernel
    filters: int
    side: int
    has_norm: bool = True  # batch norm; else a bias
    experts: int = 1


def cost(variant: AnyVariant, resolution: int | None = None, classes: int | None = None) -> Cost:
    """Count parameters, multiply-adds and activations.

    Args:
        variant: Published or custom variant, as ``get_variant`` takes it.
        resolution: Side of the square input, pixels; the variant's by default.
        classes: Number of outputs of the classifier; the variant's by default.

    Raises:
        ValueError: A number is below 1, or there is no such variant.
    """
    variant = get_variant(variant)
    side = variant.resolution if resolution is None else arguments.whole("resolution", resolution)
    classes = variant.classes if classes is None else arguments.whole("classes", classes)
    parameters = macs = activations = 0
    for layer in _layers(variant, side, classes):
        parameters += layer.experts * layer.weights + (2 if layer.has_norm else 1) * layer.filters
        macs += layer.weights * layer.side**2
        if layer.experts > 1:  # mixing each kernel once for an image (arXiv 1904.04971, equation 1)
            macs += layer.experts * layer.weights
        activations += layer.filters * layer.side**2
    return Cost(parameters, macs, activations)


def _layers(variant: AnyVariant, side: int, classes: int) -> Iterator[_Layer]:
    """Yield the layers that have kernels, in order."""
    side, stem, head = math.ceil(side / 2), stem_filters(variant), head_filters(variant)
    channels = stem
    yield _Layer(3 * 3 * 3 * stem, stem, side)
    for block in scale_blocks(variant):
        kernel, inner, channels = block.kernel_size**2, block.expanded_filters, block.output_filters
        strided = math.ceil(side / block.strides)
        if block.experts > 1:  # the routing
            yield _Layer(block.input_filters * block.experts, block.experts, 1, has_norm=False)
        if block.fused:
            if block.expands:
                yield _Layer(kernel * block.input_filters * inner, inner, strided)
        else:
            if block.expands:
                yield _Layer(block.input_filters * inner, inner, side, experts=block.experts)
            yield _Layer(kernel * inner, inner, strided, experts=block.experts)
        if block.se_filters:
            yield _Layer(inner * block.se_filters, block.se_filters, 1, has_norm=False)
            yield _Layer(block.se_filters * inner, inner, 1, has_norm=False)
        is_lone = block.fused and not block.expands  # one convolution is all of the block
        yield _Layer((kernel if is_lone else 1) * inner * channels, channels, strided, experts=block.experts)
        side = strided
    yield _Layer(channels * head, head, side)
    yield _Layer(head * classes, classes, 1, has_norm=False)
