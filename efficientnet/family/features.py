"""The feature maps of a network, and dilation in place of strides in its last stages.

Nothing here imports a framework.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from ..common import arguments
from .scaling import AnyVariant, Block, scale_blocks, stem_filters
from .variants import Variant, get_variant

OUTPUT_STRIDES = (8, 16, 32)


class Feature(NamedTuple):
    """One feature map of a network.

    Attributes:
        name: Level in the pyramid, ``"P3"``: the map whose stride is 2 ** 3 without dilation.
        stride: Pixels of the input per pixel of the map.
        channels: Number of channels.
        layer: Name of the layer that returns it.
    """

    name: str
    stride: int
    channels: int
    layer: str


def feature_info(variant: AnyVariant, output_stride: int = 32) -> tuple[Feature, ...]:
    """Return the feature maps of a variant, the finest first, without building it.

    Args:
        variant: Published or custom variant, as ``get_variant`` takes it.
        output_stride: Stride of the coarsest maps: 8, 16 or 32, as for ``create``.

    Raises:
        ValueError: There is no such variant, or the stride is another one.

    Example:
        >>> for feature in feature_info("b0", output_stride=16):
        ...     print(*feature)
        P1 2 16 block1a_project_bn
        P2 4 24 block2b_add
        P3 8 40 block3b_add
        P4 16 112 block5c_add
        P5 16 320 block7a_project_bn
    """
    variant = get_variant(variant)
    blocks = scale_blocks(variant)
    own, stride = 2, 2
    found = {own: Feature(level(own), stride, stem_filters(variant), "stem_activation")}
    for trained, block in zip(blocks, dilate(blocks, output_stride), strict=True):
        own, stride = own * trained.strides, stride * block.strides
        found[own] = Feature(level(own), stride, block.output_filters, _last_layer(block))
    return tuple(found.values())


def level(stride: int) -> str:
    """Return the name of the map of this stride, without dilation; those of a network all have different names."""
    return f"P{stride.bit_length() - 1}"


def dilate(blocks: Sequence[Block], output_stride: int) -> tuple[Block, ...]:
    """Replace strides by dilation where the network would get coarser than ``output_stride``; weights stay the same.

    The block that loses its stride is dilated like those before it, and those behind it by that stride more: what
    they see are then the same distances as in training. Its residual stays as trained, though its shape may allow one.

    Raises:
        ValueError: The stride is not 8, 16 or 32.
    """
    arguments.choice("output_stride", output_stride, OUTPUT_STRIDES)
    result, stride, dilation = [], 2, 1
    for block in blocks:
        # No stride comes behind a dilation, since no Keras has layers with both.
        if block.strides > 1 and (dilation > 1 or stride * block.strides > output_stride):
            result.append(dataclasses.replace(block, strides=1, dilation=dilation))
            dilation *= block.strides
        else:
            result.append(dataclasses.replace(block, dilation=dilation))
            stride *= block.strides
    return tuple(result)


def chosen_strides(variant: Variant, out_strides: Sequence[int] | None) -> tuple[int, ...]:
    """Return the strides, without dilation, of the feature maps that are asked for; by default of all.

    Raises:
        TypeError, ValueError: They are not strides of the variant's maps, or one of them comes twice.
    """
    strides = [2]
    for block in scale_blocks(variant):
        if block.strides > 1:
            strides.append(strides[-1] * block.strides)
    if out_strides is None:
        return tuple(strides)
    arguments.instance("out_strides", out_strides, (list, tuple), f"strides out of {tuple(strides)}")
    wanted = tuple(arguments.whole("out_strides", stride) for stride in out_strides)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(strides):
        raise ValueError(
            f"out_strides={out_strides!r}: expected different ones out of {tuple(strides)}, the strides of the feature "
            f"maps of {variant.name} without dilation."
        )
    return wanted


def _last_layer(block: Block) -> str:
    if block.residual:
        return f"{block.name}_add"
    return f"{block.name}_project_{'activation' if block.fused and not block.expands else 'bn'}"
