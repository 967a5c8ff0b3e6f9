"""Classifiers of an image's mean color, whose outputs are known by construction, and images for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

# Class 0 is red, class 1 is green and not blue, and has a bias: without it a black image would be of neither.
CORNERS = np.array([[1, 0], [0, 1], [0, -1]], "float32"), np.array([0, 0.5], "float32")


def color_model(keras: Any, kernel: Any, bias: Any, activation: str | None = "softmax", size: int = 16) -> Any:
    """Build a network from (size, size, 3) pixels 0..255: a dense layer on the mean color, 0..1."""
    kernel = np.asarray(kernel, "float32")
    model = keras.models.Sequential([
        keras.layers.Input((size, size, 3)), keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(kernel.shape[1], activation),
    ])  # fmt: skip
    model.layers[-1].set_weights([kernel, np.broadcast_to(np.asarray(bias, "float32"), kernel.shape[1:])])
    return model


def save_with_names(model: Any, folder: Path, names: tuple[str, ...]) -> str:
    """Save a model with its class names; return the path."""
    from efficientnet.checkpoints.facts import Facts
    from efficientnet.keras_files.metadata import write_facts

    path = folder / "model.keras"
    model.save(path)
    write_facts(path, Facts(class_names=names))
    return str(path)


def corners_image() -> np.ndarray:
    """Draw red in the first corner, a fainter green in the last one, blue beside it; 8 x 8 pixels."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, 0, 0], pixels[7, 7, 1], pixels[7, 0, 2] = 200, 100, 100
    return pixels


def png(color: tuple[int, ...], size: int = 20) -> bytes:
    """Return the content of a PNG file of one color."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


def expected(color: tuple[int, ...]) -> np.ndarray:
    """Return the probabilities that the classifier of ``CORNERS`` gives an image of one color."""
    logits = np.array(color) / 255 @ CORNERS[0] + CORNERS[1]
    return np.exp(logits) / np.exp(logits).sum()
