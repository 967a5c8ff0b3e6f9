"""The arrays of a network: names and shapes, derived from its blocks without building anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from . import scaling
from .scaling import Block
from .variants import Variant, get_variant, list_variants

# In the order in which Keras keeps the weights of a layer; a layer without bias or scale has fewer.
ROLES = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
}

# The layers behind the last block: a file may hold them though the model, built without a top, does not.
HEAD = ("top_conv", "top_bn", "probs")


def role(weight_name: str) -> str:
    """Return a weight's role: ``"kernel"`` of ``"block1a_dwconv/depthwise_kernel:0"``; Keras 2 and 3 differ in it."""
    last = weight_name.rsplit("/", 1)[-1].split(":", 1)[0]
    return "kernel" if last == "depthwise_kernel" else last


class Place(NamedTuple):
    """The position of a block.

    Attributes:
        block: Block.
        number: Index in the whole network, from 0.
        stage: Index of the stage, from 0.
        repeat: Index in the stage, from 0.
    """

    block: Block
    number: int
    stage: int
    repeat: int


class Layer(NamedTuple):
    """A layer with weights.

    Attributes:
        name: Name, ``"block2a_expand_conv"``.
        kind: Class in Keras.
        shapes: Shapes of its arrays by role, in Keras' order and layout: ``{"kernel": (1, 1, 16, 96)}``.
        part: Name without that of the block: ``"expand_conv"``.
        place: Position of the block that it belongs to; None for stem and head.
    """

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    part: str
    place: Place | None


def places(variant: Variant) -> Iterator[Place]:
    """Yield the variant's blocks with their positions."""
    stage, repeat, previous = -1, 0, ""
    for number, block in enumerate(scaling.scale_blocks(variant)):
        current = block.name.rstrip("abcdefghijklmnopqrstuvwxyz")
        stage, repeat = (stage, repeat + 1) if current == previous else (stage + 1, 0)
        previous = current
        yield Place(block, number, stage, repeat)


def layers(variant: Variant, classes: int | None = None, channels: int = 3) -> tuple[Layer, ...]:
    """Return all layers with weights, classifier included, each kind in the order of Keras' ``model.layers``.

    Args:
        variant: Variant, published or custom.
        classes: Number of classes; the variant's by default.
        channels: Number of channels of the input.
    """
    found: list[Layer] = []

    def add(part: str, kind: str, place: Place | None = None, **shapes: tuple[int, ...]) -> None:
        prefix = f"{place.block.name}_" if place else ""
        found.append(Layer(prefix + part, kind, shapes, part, place))

    def norm(part: str, filters: int, place: Place | None = None) -> None:
        add(part, "BatchNormalization", place, **dict.fromkeys(ROLES["BatchNormalization"], (filters,)))

    def conv_norm(prefix: str, size: int, inputs: int, filters: int, place: Place | None = None) -> None:
        if place and place.block.experts > 1:
            add(f"{prefix}experts", "Dense", place, kernel=(place.block.experts, inputs * filters))
        else:
            add(f"{prefix}conv", "Conv2D", place, kernel=(size, size, inputs, filters))
        norm(f"{prefix}bn", filters, place)

    channels_in = scaling.stem_filters(variant)
    conv_norm("stem_", 3, channels, channels_in)
    for place in places(variant):
        block = place.block
        size, inner, experts = block.kernel_size, block.expanded_filters, block.experts
        if experts > 1:
            add("routing", "Dense", place, kernel=(block.input_filters, experts), bias=(experts,))
        if block.expands:
            conv_norm("expand_", size if block.fused else 1, block.input_filters, inner, place)
        if not block.fused:
            part = "dwconv" if experts == 1 else "dw_experts"
            add(part, "DepthwiseConv2D", place, kernel=(size, size, inner, experts))
            norm("bn", inner, place)
        if block.se_filters:
            add("se_reduce", "Conv2D", place, kernel=(1, 1, inner, block.se_filters), bias=(block.se_filters,))
            add("se_expand", "Conv2D", place, kernel=(1, 1, block.se_filters, inner), bias=(inner,))
        conv_norm("project_", size if block.fused and not block.expands else 1, inner, block.output_filters, place)
        channels_in = block.output_filters
    head, classes = scaling.head_filters(variant), classes or variant.classes
    conv_norm("top_", 1, channels_in, head)
    add("probs", "Dense", kernel=(head, classes), bias=(classes,))
    return tuple(found)


def identify(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """Return the published variant whose blocks are in a model, the largest of several; None if there is none.

    Args:
        shapes: Shapes of all arrays of the model by layer and role, ``"block1a_dwconv/kernel"``.
    """

    def blocks(variant: Variant) -> dict[str, tuple[int, ...]]:
        layers_of_blocks = (layer for layer in layers(variant) if layer.place)
        return {f"{layer.name}/{role}": shape for layer in layers_of_blocks for role, shape in layer.shapes.items()}

    found = [variant for variant in map(get_variant, list_variants()) if blocks(variant).items() <= shapes.items()]
    return max(found, key=lambda variant: len(blocks(variant)), default=None)
