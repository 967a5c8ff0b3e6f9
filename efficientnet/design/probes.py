"""The small networks whose measured times a latency model is fitted to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..family.costs import cost
from ..family.variants import BlockArgs, Variant, get_variant
from .baselines import Baseline

# The network that the others are timed by turns with.
REFERENCE = dataclasses.replace(get_variant("b0"), name="reference", resolution=128)

_BASES = ("b0", "lite0", "b0", "v2-b0", "b0", "edgetpu-s")
# Shares of thin stages, one of which is drawn. Thin stages cost next to nothing, so that other layers count.
_THIN = (0.0, 0.45, 0.45)
# Most multiply-adds of most networks, and of the few large ones: one in four.
_MOST_MACS, _LARGE_MACS, _FEW_LARGE = 2e8, 1e9, 4


def probe(number: int) -> Variant:
    """Return a small network of the table: a published one with its stages changed at random, some of them thin."""
    generator = np.random.default_rng(number)
    base = get_variant(_BASES[number % len(_BASES)])
    most = _MOST_MACS if number % _FEW_LARGE else _LARGE_MACS
    thin = generator.choice(_THIN)
    while True:
        width, resolution = (math.exp(generator.uniform(*np.log(ends))) for ends in ((0.35, 4), (64, 512)))
        filters = stem = 8 * int(generator.integers(1, 7))
        blocks: list[BlockArgs] = []
        for stage in base.blocks:
            blocks.append(_changed(stage, generator, filters, 0.0 if generator.random() < thin else width))
            filters = blocks[-1].output_filters
        variant = dataclasses.replace(
            base, name=f"probe-{number}", width=1.0, depth=1.0, depth_divisor=8, resolution=round(resolution),
            blocks=tuple(blocks), scale_stem_and_head=False, stem_filters=stem,
            head_filters=int(generator.choice([16, 256, 1280])), classes=int(generator.choice([10, 1000])),
        )  # fmt: skip
        if most / 100 < cost(variant).macs < most:
            return variant


def _changed(stage: BlockArgs, generator: np.random.Generator, filters: int, width: float) -> BlockArgs:
    """Return a stage with these input filters, and the rest changed at random; a thin one for a width of 0."""
    stage = dataclasses.replace(stage, input_filters=filters)
    if not width:
        return dataclasses.replace(stage, output_filters=8, num_repeat=1, expand_ratio=1, se_ratio=None, fused=False)
    expansion, kernel, se = (generator.random() < share for share in (0.5, 0.4, 0.2))
    return dataclasses.replace(
        stage,
        output_filters=8 * max(1, round(stage.output_filters * width * math.exp(generator.uniform(-0.4, 0.4)) / 8)),
        num_repeat=int(generator.integers(1, 4)),
        expand_ratio=int(generator.choice([1, 3, 4, 6])) if expansion else stage.expand_ratio,
        kernel_size=int(generator.choice([3, 5])) if kernel and not stage.fused else stage.kernel_size,
        se_ratio=(None if stage.se_ratio else 0.25) if se and not stage.fused else stage.se_ratio,
    )


def build(variant: Variant) -> Any:
    """Build a network of random weights that takes raw pixels."""
    return Baseline.from_variant(variant).build()
