"""ResNet-50 (arXiv 1512.03385, table 1) as a function of width, depth and resolution.

A block's stride is that of its 3 x 3 convolution, as ResNets are trained today: 4.1 billion multiply-adds.
"""

from __future__ import annotations

from typing import Any

from ..family.scaling import round_filters, round_repeats
from .blocks import Builder

# Filters of the bottleneck, repeats, stride of the first repeat.
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_EXPANSION = 4


def resnet50(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build a model from (batch, resolution, resolution, 3) raw pixels 0..255 to (batch, classes) probabilities."""
    build = Builder(resolution)
    layers = build.keras.layers
    x = build.conv_norm(build.start, round_filters(64, width), 7, 2, "stem", activation="relu")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, (stage_filters, repeats, stage_strides) in enumerate(_STAGES, start=1):
        filters = round_filters(stage_filters, width)
        for repeat in range(round_repeats(repeats, depth)):
            name = f"stage{stage}_block{repeat + 1}"
            strides = stage_strides if repeat == 0 else 1
            shortcut = x
            if repeat == 0:
                shortcut = build.conv_norm(x, _EXPANSION * filters, 1, strides, f"{name}_shortcut", activation=None)
            x = build.conv_norm(x, filters, 1, 1, f"{name}_reduce", activation="relu")
            x = build.conv_norm(x, filters, 3, strides, name, activation="relu")
            x = build.conv_norm(x, _EXPANSION * filters, 1, 1, f"{name}_expand", activation=None)
            x = layers.Add(name=f"{name}_add")([x, shortcut])
            x = layers.Activation("relu", name=f"{name}_out")(x)
    return build.classifier(x, classes, "resnet-50")
