"""MobileNetV2 (arXiv 1801.04381, table 2) as a function of width, depth and resolution."""

from __future__ import annotations

from typing import Any

from ..family.scaling import round_filters, round_repeats
from .blocks import Builder

# Expansion, filters, repeats, stride of the first repeat.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v2(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build a model from (batch, resolution, resolution, 3) raw pixels 0..255 to (batch, classes) probabilities."""
    build = Builder(resolution)
    channels = round_filters(32, width)
    x = build.conv_norm(build.start, channels, 3, 2, "stem")
    for stage, (expansion, stage_filters, repeats, stage_strides) in enumerate(_STAGES, start=1):
        filters = round_filters(stage_filters, width)
        for repeat in range(round_repeats(repeats, depth)):
            name = f"stage{stage}_block{repeat + 1}"
            strides = stage_strides if repeat == 0 else 1
            inputs = x
            if expansion > 1:
                x = build.conv_norm(x, expansion * channels, 1, 1, f"{name}_expand")
            x = build.depthwise_norm(x, strides, name)
            x = build.conv_norm(x, filters, 1, 1, f"{name}_project", activation=None)
            if strides == 1 and channels == filters:
                x = build.keras.layers.Add(name=f"{name}_add")([x, inputs])
            channels = filters
    x = build.conv_norm(x, round_filters(1280, width), 1, 1, "top")
    return build.classifier(x, classes, "mobilenet-v2")
