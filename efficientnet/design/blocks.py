"""Parts of the baselines that are not EfficientNets."""

from __future__ import annotations

from typing import Any

from ..network.backends import import_keras
from ..network.initializers import CONV_INITIALIZER, call_drawing_weights, classifier_initializer, generator


class Builder:
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
            classes,
            activation="softmax",
            kernel_initializer=classifier_initializer(classes),
            name="probs",
            dtype="float32",
        )
        return self.keras.Model(self._input, self._call(dense, x), name=name)

    def _call(self, layer: Any, x: Any) -> Any:
        return call_drawing_weights(self._rng, layer, x)
