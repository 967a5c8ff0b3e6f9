"""MobileNetV1 (arXiv 1704.04861, table 1) as a function of width, depth and resolution."""

from __future__ import annotations

from typing import Any

from ..family.scaling import round_filters, round_repeats
from .blocks import Builder

# Filters, repeats, stride of the first repeat. Depth does not apply to the first row, which with the stem in front
# of it makes the network's entry: so scaled, the multiply-adds are those of arXiv 1905.11946, table 3.
_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))


def mobilenet_v1(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build a model from (batch, resolution, resolution, 3) raw pixels 0..255 to (batch, classes) probabilities."""
    build = Builder(resolution)
    x = build.conv_norm(build.start, round_filters(32, width), 3, 2, "stem")
    for stage, (filters, repeats, strides) in enumerate(_STAGES, start=1):
        for repeat in range(repeats if stage == 1 else round_repeats(repeats, depth)):
            name = f"stage{stage}_block{repeat + 1}"
            x = build.depthwise_norm(x, strides if repeat == 0 else 1, name)
            x = build.conv_norm(x, round_filters(filters, width), 1, 1, name)
    return build.classifier(x, classes, "mobilenet-v1")
