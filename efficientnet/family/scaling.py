"""Scaling: from a variant to its concrete list of blocks.

Nothing here imports a framework. Source: arXiv 1905.11946, section 3, and the authors'
released code for the rounding rules, which the paper leaves out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ..common import arguments
from .description import ROUNDINGS
from .variants import Variant, get_variant

AnyVariant: TypeAlias = Variant | str | os.PathLike[str]  # as ``get_variant`` takes it

MIN_RESOLUTION = 32  # pixels: the networks halve their input five times


@dataclass(frozen=True)
class Block:
    """One mobile inverted bottleneck after scaling.

    Attributes:
        name: Prefix of its layers' names, ``"block1a"``: stage and, by letter, place within the stage.
        kernel_size: Side of the kernel, pixels: of the depthwise convolution, or of a fused one.
        strides: Stride of that convolution.
        fused: Whether one full convolution replaces the expansion and the depthwise convolution.
        input_filters: Number of input channels.
        expands: Whether the block has an expansion convolution.
        expanded_filters: Number of channels within the block; equal to ``input_filters`` if it does not expand.
        se_filters: Number of channels of the squeeze-and-excite bottleneck; 0 for none.
        output_filters: Number of output channels.
        experts: Kernels that each image mixes into its own; 1 for ordinary ones.
        residual: Whether the input is added to the output.
        drop_connect_fraction: Share of the network's drop connect rate in this block, 0..1, growing with depth.
        dilation: Distance of the kernel's weights on its input, pixels; see ``features.dilate``.
    """

    name: str
    kernel_size: int
    strides: int
    fused: bool
    input_filters: int
    expands: bool
    expanded_filters: int
    se_filters: int
    output_filters: int
    experts: int
    residual: bool
    drop_connect_fraction: float
    dilation: int = 1


class Factors(NamedTuple):
    """The change of a baseline in each dimension: more than 1 enlarges it, less shrinks it, 1 leaves it unchanged.

    Attributes:
        width: Factor of every number of filters.
        depth: Factor of every number of repeats.
        resolution: Factor of the side of the input.

    Example:
        >>> get_baseline("b0").pixels(Factors(resolution=1.5))
        336
    """

    width: float = 1.0
    depth: float = 1.0
    resolution: float = 1.0

    def checked(self) -> Factors:
        """Return the factors unchanged.

        Raises:
            ValueError: A factor is not greater than 0, or not finite.
        """
        for dimension, factor in self._asdict().items():
            arguments.factor(dimension, factor)
        return self


def checked_factors(factors: Any) -> Factors:
    """Return the factors unchanged.

    Raises:
        TypeError: The argument is not ``Factors``.
        ValueError: A number is not greater than 0, or not finite.
    """
    return arguments.instance("factors", factors, Factors, "Factors(width, depth, resolution)").checked()


def scale_resolution(resolution: int, factor: float) -> int:
    """Return the side of the scaled input, in whole pixels; one that shrinks stays at least 32."""
    scaled = round(arguments.whole("resolution", resolution) * arguments.factor("factor", factor))
    return max(scaled, min(resolution, MIN_RESOLUTION))


def scale(variant: AnyVariant, factors: Factors, name: str | None = None) -> Variant:
    """Scale a variant by factors of its width, depth and resolution.

    Args:
        variant: Baseline, as ``get_variant`` takes it.
        factors: Factors greater than 0; ``coefficients.factors(phi)`` returns those of compound scaling.
        name: Name of the new variant; by default the baseline's, followed by the factors.

    Raises:
        ValueError: A factor is not greater than 0 or not finite, or the variant's input is under 32 pixels.

    Example:
        >>> scale("b0", Factors(width=2), name="wide").width
        2.0
    """
    variant, factors = get_variant(variant), checked_factors(factors)
    resolution = scale_resolution(variant.resolution, factors.resolution)
    if resolution < MIN_RESOLUTION:
        raise ValueError(
            f"{variant.name} at {resolution} pixels: expected at least {MIN_RESOLUTION}, since the network halves its "
            "input five times."
        )
    return dataclasses.replace(
        variant,
        name=f"{variant.name}-w{factors.width:.4g}-d{factors.depth:.4g}-r{resolution}" if name is None else name,
        width=variant.width * factors.width,
        depth=variant.depth * factors.depth,
        resolution=resolution,
    )


def round_filters(filters: float, width_coefficient: float, depth_divisor: int = 8, limit_loss: bool = True) -> int:
    """Scale a number of filters and round it to a multiple of ``depth_divisor``, at least one multiple.

    Args:
        filters: Unscaled number of filters.
        width_coefficient: Factor of the number of filters.
        depth_divisor: Divisor of the result.
        limit_loss: Whether to add one multiple if rounding down would lose over 10%. V2 does not.

    Raises:
        ValueError: A number is out of its range.
    """
    scaled = arguments.factor("filters", filters) * arguments.factor("width_coefficient", width_coefficient)
    arguments.whole("depth_divisor", depth_divisor)
    arguments.flag("limit_loss", limit_loss)
    rounded = max(depth_divisor, int(scaled + depth_divisor / 2) // depth_divisor * depth_divisor)
    if limit_loss and rounded < 0.9 * scaled:
        rounded += depth_divisor
    return int(rounded)


def round_repeats(repeats: int, depth_coefficient: float, rounding: str = "up") -> int:
    """Scale a number of repeats and round it: up, as the authors do, or to the nearest, at least 1."""
    scaled = arguments.factor("depth_coefficient", depth_coefficient) * arguments.whole("repeats", repeats)
    return math.ceil(scaled) if arguments.choice("rounding", rounding, ROUNDINGS) == "up" else max(1, round(scaled))


def stage_repeats(variant: AnyVariant) -> list[int]:
    """Return the number of blocks of each scaled stage."""
    variant = get_variant(variant)
    return [
        round_repeats(stage.num_repeat, variant.depth, variant.depth_rounding)
        if stage.scale_repeats
        else stage.num_repeat
        for stage in variant.blocks
    ]


def scale_filters(variant: AnyVariant, filters: int) -> int:
    """Return a baseline's number of filters, scaled for this variant."""
    variant = get_variant(variant)
    return round_filters(filters, variant.width, variant.depth_divisor, variant.limit_rounding_loss)


def stem_filters(variant: AnyVariant) -> int:
    """Return the number of filters of the first convolution."""
    variant = get_variant(variant)
    return scale_filters(variant, variant.stem_filters) if variant.scale_stem_and_head else variant.stem_filters


def head_filters(variant: AnyVariant) -> int:
    """Return the number of filters of the last convolution: the length of the feature vector."""
    variant = get_variant(variant)
    return scale_filters(variant, variant.head_filters) if variant.scale_stem_and_head else variant.head_filters


def scale_blocks(variant: AnyVariant) -> tuple[Block, ...]:
    """Return the variant's scaled blocks in order.

    The first block of a stage has its stride and its change of filters. The drop connect fraction of
    block i of n is i / n, i from 0 (arXiv 1603.09382, section 3, as the authors' code applies it).

    Raises:
        ValueError: A stage's input filters differ from the output filters of the stage before it.
    """
    variant = get_variant(variant)
    for number, (stage, following) in enumerate(itertools.pairwise(variant.blocks), start=1):
        if stage.output_filters != following.input_filters:
            raise ValueError(
                f"{variant.name}: stage {number} gives {stage.output_filters} filters but stage {number + 1} takes "
                f"{following.input_filters}; make output_filters and the next input_filters equal."
            )
    repeats = stage_repeats(variant)
    total = sum(repeats)
    blocks: list[Block] = []
    input_filters = stem_filters(variant)
    for stage_index, stage in enumerate(variant.blocks):
        output_filters = scale_filters(variant, stage.output_filters)
        for repeat in range(repeats[stage_index]):
            strides = stage.strides if repeat == 0 else 1
            # A stage widens the input filters of its row, whatever the stem in front of it returns.
            widened = scale_filters(variant, stage.input_filters) if repeat == 0 else output_filters
            expands = stage.expand_ratio > 1 or stage.always_expand
            expanded = widened * stage.expand_ratio if expands else input_filters
            squeezed = max(1, int(input_filters * stage.se_ratio)) if stage.se_ratio else 0
            if stage.expanded_filters:
                expanded = stage.expanded_filters[repeat]
            if stage.se_filters:
                squeezed = stage.se_filters[repeat]
            blocks.append(
                Block(
                    name=block_name(stage_index, repeat),
                    kernel_size=stage.kernel_size,
                    strides=strides,
                    fused=stage.fused,
                    input_filters=input_filters,
                    expands=expands,
                    expanded_filters=expanded,
                    se_filters=squeezed,
                    output_filters=output_filters,
                    experts=stage.experts,
                    residual=stage.id_skip and strides == 1 and input_filters == output_filters,
                    drop_connect_fraction=len(blocks) / total,
                )
            )
            input_filters = output_filters
    return tuple(blocks)


def block_name(stage: int, repeat: int) -> str:
    """Return the name of a block, by the index of its stage and its index within the stage."""
    return f"block{stage + 1}{_letters(repeat)}"


def _letters(index: int) -> str:
    """Return the letters of an index: a, b, …, z, aa, ab, …"""
    letters = ""
    index += 1
    while index:
        index, remainder = divmod(index - 1, 26)
        letters = chr(ord("a") + remainder) + letters
    return letters
