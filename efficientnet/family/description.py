"""What describes a network of the family: :class:`Variant`, and its stages, :class:`BlockArgs`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..common import arguments

PADDINGS = ("same", "symmetric", "edgetpu")
ROUNDINGS = ("up", "nearest")  # how a scaled number of repeats is rounded

# What a file may ask for, several times what the largest published network, L2, has.
_LARGEST_FACTOR = 100
_MOST_BLOCKS = 1_000
_MOST_CHANNELS = 1 << 16
_LARGEST = {"kernel_size": 99, "strides": 32, "experts": 256, "classes": 1 << 24}
_LARGEST_NUMBER = 1 << 16


def pads_symmetrically(padding: str, fused: bool) -> bool:
    """Return whether a convolution with a stride pads equally on all sides.

    The authors' EdgeTPU code of 2019 has the stride of a fused block in its 1x1 projection, and so computes the 3x3
    convolution before it at all positions and keeps 0, 2, 4, …: a 3x3 with the stride and equal sides does the same.

    Args:
        padding: One of ``PADDINGS``.
        fused: Whether it is the full convolution of a fused block.
    """
    return padding == "symmetric" or (padding == "edgetpu" and fused)


def padding_of(convolutions: Iterable[tuple[bool, bool]]) -> str | None:
    """Return the padding of a network; None if no padding is like it.

    Args:
        convolutions: For each convolution with a stride: whether it is fused, and whether it pads equally on all sides.
    """
    found = set(convolutions)
    if not found:
        return None
    fitting = (name for name in PADDINGS if all(pads_symmetrically(name, fused) == equal for fused, equal in found))
    return next(fitting, None)


def _check_whole(field: str, value: Any) -> None:
    largest = _LARGEST.get(field, _LARGEST_NUMBER)
    if not isinstance(value, int) or not 1 <= value <= largest:
        raise ValueError(f"{field}={value!r}: expected an integer of at least 1, and at most {largest}.")


@dataclass(frozen=True)
class BlockArgs:
    """One stage of the unscaled baseline: ``num_repeat`` mobile inverted bottlenecks in a row.

    Attributes:
        kernel_size: Side of the square kernel, pixels: of the depthwise convolution, or of a fused one.
        num_repeat: Number of blocks in the stage before depth scaling.
        input_filters: Number of input channels before width scaling.
        output_filters: Number of output channels before width scaling.
        expand_ratio: Factor of the input channels in the expansion; 1 for a block without an expansion convolution.
        id_skip: Whether a block of stride 1 and equal filters adds its input to its output.
        strides: Stride of the first block of the stage; the others have 1. A pair of equal numbers,
            as the older ``efficientnet`` package wrote it, is taken too.
        se_ratio: Ratio of squeeze-and-excite channels to the block's *input* filters; None for none.
        scale_repeats: Whether the depth coefficient applies (EfficientNet-Lite fixes two stages).
        fused: Whether one full convolution replaces the expansion and the depthwise convolution.
        experts: Number of kernels that each image mixes into its own (CondConv, arXiv 1904.04971); 1 for ordinary ones.
        always_expand: Whether a block has an expansion convolution even if ``expand_ratio`` is 1.
        expanded_filters: Number of channels within each block of the stage, as in a pruned network; empty for the
            input's times ``expand_ratio``. Such a stage is not scaled.
        se_filters: Number of squeeze-and-excite channels of each block; empty for what ``se_ratio`` gives.

    Example:
        >>> BlockArgs(kernel_size=3, num_repeat=2, input_filters=16, output_filters=24, strides=2).output_filters
        24
    """

    kernel_size: int
    num_repeat: int
    input_filters: int
    output_filters: int
    expand_ratio: int = 1
    id_skip: bool = True
    strides: int = 1
    se_ratio: float | None = None
    scale_repeats: bool = True
    fused: bool = False
    experts: int = 1
    always_expand: bool = False
    expanded_filters: tuple[int, ...] = ()
    se_filters: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in ("expanded_filters", "se_filters"):
            listed = tuple(getattr(self, field))  # JSON has lists
            object.__setattr__(self, field, listed)
            if listed and len(listed) != self.num_repeat:
                raise ValueError(
                    f"{field} lists {len(listed)} blocks: expected num_repeat={self.num_repeat} numbers, or none."
                )
            for number in listed:
                _check_whole(field, number)
        if isinstance(self.strides, (list, tuple)):
            if len(set(self.strides)) != 1:
                raise ValueError(f"strides={self.strides!r}: expected an int, or a pair of equal ints.")
            object.__setattr__(self, "strides", self.strides[0])
        for field in (
            "kernel_size", "num_repeat", "input_filters", "output_filters", "expand_ratio", "strides", "experts",
        ):  # fmt: skip
            _check_whole(field, getattr(self, field))
        if self.experts > 1 and self.fused:
            raise ValueError(f"experts={self.experts} with fused=True: only pointwise and depthwise kernels are mixed.")
        if self.se_ratio is not None and not 0 <= self.se_ratio <= 1:
            raise ValueError(f"se_ratio={self.se_ratio!r}: expected None or a fraction between 0 and 1.")

    # The name under which code written for the older package, where this was a named tuple, changes a field.
    _replace = dataclasses.replace


@dataclass(frozen=True)
class Variant:
    """One network of the family: everything that distinguishes it from the others.

    Attributes:
        name: Name of its published weights, for example ``"efficientnet-b0"``.
        width: Width coefficient, the factor of every number of filters.
        depth: Depth coefficient, the factor of every number of repeats.
        resolution: Side of the square input that it was evaluated at, pixels.
        dropout_rate: Dropout before the classifier, 0..1.
        blocks: Unscaled stages.
        activation: Keras name of the activation everywhere but in the squeeze-and-excite gate.
        stem_filters: Number of filters of the first convolution before scaling.
        head_filters: Number of filters of the last convolution before scaling.
        scale_stem_and_head: Whether the width coefficient applies to those two.
        depth_divisor: Divisor to whose multiples the numbers of filters are rounded.
        limit_rounding_loss: Whether rounding filters down may lose at most 10%.
        depth_rounding: Rounding of a scaled number of repeats: ``"up"`` as the authors do, or ``"nearest"`` as in
            TinyNet (arXiv 2010.14819).
        batch_norm_momentum: Momentum of the moving statistics, as Keras defines it.
        batch_norm_epsilon: Number added to the variance.
        padding: Padding of convolutions with a stride: ``"same"`` as TensorFlow pads, on the right and below first;
            ``"symmetric"`` as PyTorch does, equally on all sides; ``"edgetpu"`` as in the network that the authors
            trained EdgeTPU in: fused convolutions symmetric, all others same.
        classes: Number of classes of the published classifier.
        preprocessing: Mode of ``preprocess_input`` that the published weights expect by default.
        paper: Source that defines the network.

    Example:
        >>> from dataclasses import replace
        >>> replace(get_variant("b0"), name="half", width=0.5).width
        0.5
    """

    name: str
    width: float
    depth: float
    resolution: int
    dropout_rate: float
    blocks: tuple[BlockArgs, ...]
    activation: str = "swish"
    stem_filters: int = 32
    head_filters: int = 1280
    scale_stem_and_head: bool = True
    depth_divisor: int = 8
    limit_rounding_loss: bool = True
    depth_rounding: str = "up"
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-3
    padding: str = "same"
    classes: int = 1000
    preprocessing: str = "torch"
    paper: str = "arXiv 1905.11946"

    def __post_init__(self) -> None:
        for field in ("width", "depth"):
            expected = f"a factor, finite, greater than 0, and at most {_LARGEST_FACTOR}"
            arguments.number(field, getattr(self, field), lambda value: 0 < value <= _LARGEST_FACTOR, expected)
        for field in ("resolution", "stem_filters", "head_filters", "depth_divisor", "classes"):
            _check_whole(field, getattr(self, field))
        arguments.choice("padding", self.padding, PADDINGS)
        arguments.choice("depth_rounding", self.depth_rounding, ROUNDINGS)
        if not (isinstance(self.name, str) and self.name):
            raise ValueError(f"name={self.name!r}: expected the name of a variant.")
        arguments.fraction("dropout_rate", self.dropout_rate)
        if not self.blocks:
            raise ValueError(f"{self.name} has no blocks: expected at least one BlockArgs.")
        if other := [block for block in self.blocks if not isinstance(block, BlockArgs)]:
            raise TypeError(f"{self.name} has the block {other[0]!r}: expected BlockArgs.")
        repeats = sum(block.num_repeat * (self.depth if block.scale_repeats else 1) for block in self.blocks)
        if repeats > _MOST_BLOCKS:
            raise ValueError(
                f"{self.name} has {repeats:.0f} blocks at depth={self.depth}: expected at most {_MOST_BLOCKS}. Lower "
                "depth or num_repeat."
            )
        if (self.width, self.depth) != (1, 1) and any(b.expanded_filters or b.se_filters for b in self.blocks):
            raise ValueError(
                f"{self.name} lists the filters of its blocks, and so it cannot be scaled: expected width=1 and "
                f"depth=1, got {self.width} and {self.depth}."
            )
        widest = self.width * max(
            self.stem_filters, self.head_filters,
            *(max(block.input_filters, block.output_filters) * block.expand_ratio for block in self.blocks),
        )  # fmt: skip
        if widest > _MOST_CHANNELS:
            raise ValueError(
                f"{self.name} has layers of {widest:.0f} channels at width={self.width}: expected at most "
                f"{_MOST_CHANNELS}. Lower width, the filters or expand_ratio."
            )
