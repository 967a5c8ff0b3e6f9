"""The stages of the networks that most tests build: every kind of layer that their family has, and few of each."""

from __future__ import annotations

import dataclasses

from efficientnet import BlockArgs, get_variant


def tiny_blocks(variant: str) -> tuple[BlockArgs, BlockArgs]:
    """The first stage and the third, of larger kernels, behind one another; strides up to 8."""
    first, _, third, *_ = get_variant(variant).blocks
    return dataclasses.replace(first, strides=2), dataclasses.replace(third, input_filters=first.output_filters)
