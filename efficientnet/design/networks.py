"""The baselines that are not EfficientNets, as functions of width, depth and resolution.

Each builds a model from (batch, resolution, resolution, 3) raw pixels 0..255 to (batch, classes) probabilities.
"""

from __future__ import annotations

from typing import Any

from ..family.scaling import round_filters, round_repeats
from ..network.backends import import_keras
from ..network.initializers import CONV_INITIALIZER, call_drawing_weights, classifier_initializer, generator


class _Builder:
    """Builder of a chain of Keras layers; NumPy draws its weights, as in ``model.py``.

    Args:
        resolution: Side of the square input of raw pixels 0..255, which the first layer scales to -1..1.
    """

    def __init__(self, resolution: int) -> None:
        self.keras = import_keras()
        self._rng = generator()
        self._input = self.keras.Input((resolution, resolution, 3))
        self.start = self.keras.layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(self._input)

    def conv_norm(
        self, x: Any, filters: int, kernel_size: int, strides: int, name: str, activation: str | None = "relu6"
    ) -> Any:
        """Add a convolution without bias, a batch norm and an activation."""
        conv = self.keras.layers.Conv2D(
            filters, kernel_size, strides=strides, padding="same", use_bias=False,
            kernel_initializer=CONV_INITIALIZER, name=f"{name}_conv",
        )  # fmt: skip
        return self._norm(conv, x, name, activation)

    def depthwise_norm(self, x: Any, strides: int, name: str) -> Any:
        """Add a 3 x 3 depthwise convolution without bias, a batch norm and ReLU6."""
        conv = self.keras.layers.DepthwiseConv2D(
            3, strides=strides, padding="same", use_bias=False,
            depthwise_initializer=CONV_INITIALIZER, name=f"{name}_dwconv",
        )  # fmt: skip
        return self._norm(conv, x, f"{name}_depthwise", "relu6")

    def _norm(self, conv: Any, x: Any, name: str, activation: str | None) -> Any:
        norm = self.keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")
        x = self._call(norm, self._call(conv, x))
        return self.keras.layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x

    def classifier(self, x: Any, classes: int, name: str) -> Any:
        """Add a global average, a dense layer and softmax, and return the model."""
        x = self.keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        dense = self.keras.layers.Dense(
            classes, activation="softmax", kernel_initializer=classifier_initializer(classes), name="probs",
            dtype="float32",
        )  # fmt: skip
        return self.keras.Model(self._input, self._call(dense, x), name=name)

    def _call(self, layer: Any, x: Any) -> Any:
        return call_drawing_weights(self._rng, layer, x)


# Filters, repeats, stride of the first repeat. The first row is not scaled in depth: with the stem it is the network's
# entry. The scaled networks then have the multiply-adds of arXiv 1905.11946, table 3.
_V1_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))


def mobilenet_v1(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build MobileNetV1 (arXiv 1704.04861, table 1)."""
    build = _Builder(resolution)
    x = build.conv_norm(build.start, round_filters(32, width), 3, 2, "stem")
    for stage, (filters, repeats, strides) in enumerate(_V1_STAGES, start=1):
        for repeat in range(repeats if stage == 1 else round_repeats(repeats, depth)):
            name = f"stage{stage}_block{repeat + 1}"
            x = build.depthwise_norm(x, strides if repeat == 0 else 1, name)
            x = build.conv_norm(x, round_filters(filters, width), 1, 1, name)
    return build.classifier(x, classes, "mobilenet-v1")


# Expansion, filters, repeats, stride of the first repeat.
_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v2(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build MobileNetV2 (arXiv 1801.04381, table 2)."""
    build = _Builder(resolution)
    channels = round_filters(32, width)
    x = build.conv_norm(build.start, channels, 3, 2, "stem")
    for stage, (expansion, stage_filters, repeats, stage_strides) in enumerate(_V2_STAGES, start=1):
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


# Filters of the bottleneck, repeats, stride of the first repeat.
_RESNET_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_EXPANSION = 4


def resnet50(width: float, depth: float, resolution: int, classes: int) -> Any:
    """Build ResNet-50 (arXiv 1512.03385, table 1).

    A block's stride is that of its 3 x 3 convolution, as ResNets are trained today: 4.1 billion multiply-adds.
    """
    build = _Builder(resolution)
    layers = build.keras.layers
    x = build.conv_norm(build.start, round_filters(64, width), 7, 2, "stem", activation="relu")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, (stage_filters, repeats, stage_strides) in enumerate(_RESNET_STAGES, start=1):
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
