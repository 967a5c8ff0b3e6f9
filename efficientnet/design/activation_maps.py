"""Class activation maps: where in an image a network sees its evidence for a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..images.pixels import is_pillow, rgb_of_image
from ..keras_graph.walk import functional
from ..network.backends import import_keras


def class_activation_map(model: Any, pixels: NDArray[Any], class_index: int | None = None) -> NDArray[np.float32]:
    """Return the evidence for a class at each pixel (Zhou et al., arXiv 1512.04150, section 2).

    The last feature maps are added up, each weighted as the classifier weighs its mean for the class, and the sum is
    enlarged to the size of the image. Where it is highest, the network sees most of the class.

    Args:
        model: A Keras 3 model, functional or sequential, on any backend. It ends in global average pooling, any
            number of dropouts, and a dense layer whose activation may be a separate layer.
        pixels: (height, width, channels), in the levels that ``model`` takes; resized to its input if that has another
            size.
        class_index: Row of the classifier's output; None for the class that the model finds most probable.

    Returns:
        (height, width) float32, 0 for the least evidence in this image and 1 for the most; all 0 where it is the
        same everywhere.

    Raises:
        ValueError: The model has another end, ``pixels`` is no image, or there is no such class; the message says
            which.

    Example:
        >>> import numpy as np
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 64, weights=None, classes=5)
        >>> class_activation_map(model, np.ones((64, 64, 3), np.float32)).shape
        (64, 64)
    """
    from PIL import Image

    functional(model)
    pixels = rgb_of_image(pixels) if is_pillow(pixels) else np.asarray(pixels)
    if pixels.ndim != 3 or not pixels.size:
        raise ValueError(
            f"pixels: expected one image (height, width, channels); got shape {pixels.shape}. Pass the images of "
            "a batch one at a time."
        )
    pooling, classifier = _last_layers(model)
    channels_first = pooling.data_format == "channels_first"
    x = _resize(pixels, model.inputs[0].shape[2:4] if channels_first else model.inputs[0].shape[1:3])
    batch = (x.transpose(2, 0, 1) if channels_first else x)[np.newaxis]
    # A new model on the same layers: nothing is copied, and the given model stays unchanged.
    keras = import_keras()
    outputs = keras.Model(model.inputs[0], [pooling.input, model.output])(batch, training=False)
    features, scores = (np.asarray(keras.ops.convert_to_numpy(output)[0], np.float32) for output in outputs)
    classes = len(scores)
    if class_index is None:
        class_index = int(scores.argmax())
    elif arguments.whole("class_index", class_index, 0) >= classes:
        raise ValueError(f"class_index={class_index!r}: {model.name} has {classes} classes; give 0 to {classes - 1}.")
    weights = np.asarray(classifier.get_weights()[0], np.float32)[:, class_index]
    evidence = np.tensordot(features, weights, axes=(0 if channels_first else -1, 0))
    height, width = pixels.shape[:2]
    enlarged = np.asarray(Image.fromarray(evidence).resize((width, height), Image.Resampling.BICUBIC))
    lowest, highest = float(enlarged.min()), float(enlarged.max())
    if not highest > lowest:
        return np.zeros((height, width), np.float32)
    return np.asarray((enlarged - lowest) / (highest - lowest), np.float32)


def _resize(pixels: NDArray[Any], size: tuple[int | None, int | None]) -> NDArray[np.float32]:
    """Return the whole image at ``size`` (height, width); None keeps the image's own side."""
    from PIL import Image

    height, width = (wanted or given for wanted, given in zip(size, pixels.shape, strict=False))
    levels = np.asarray(pixels, np.float32)
    if levels.shape[:2] == (height, width):
        return levels
    channels = [
        Image.fromarray(levels[..., channel]).resize((width, height), Image.Resampling.BILINEAR)
        for channel in range(levels.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _last_layers(model: Any) -> tuple[Any, Any]:
    """Return the global average pooling and the dense layer that the model ends in."""
    layers = import_keras().layers
    # Layers come in the order of the graph, so of a model with one output these are the last ones before it.
    rest = list(getattr(model, "layers", ()))
    while rest and isinstance(rest[-1], (layers.Activation, layers.Softmax)):
        rest.pop()
    classifier = rest.pop() if rest else None
    while rest and isinstance(rest[-1], layers.Dropout):
        rest.pop()
    pooling: Any = rest.pop() if rest else None
    if (
        not isinstance(pooling, layers.GlobalAveragePooling2D)
        or pooling.keepdims
        or not isinstance(classifier, layers.Dense)
        or len(model.inputs) != 1
        or len(model.outputs) != 1
    ):
        ending = ", ".join(type(layer).__name__ for layer in getattr(model, "layers", ())[-4:]) or "no layers"
        raise ValueError(
            f"{getattr(model, 'name', model)!r} has no class activation map: it takes a model of one input and one "
            "output that ends in GlobalAveragePooling2D (without keepdims), Dropout if any, and Dense; this one ends "
            f"in {ending}. Give it such an ending, or build it as one functional model without nesting."
        )
    return pooling, classifier
