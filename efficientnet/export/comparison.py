"""Comparison of an exported file's predictions with those of Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..images.pixel_scaling import Scaling
from ..keras_graph.detours import keras_outputs, relative_difference
from ..model_io.images import read_image
from ..model_io.spec import InputSpec

MOST_COMPARED = 20
_MADE_UP = 4
# Images for Keras at a time, so that large ones fit into memory.
_KERAS_BATCH = 4


def network_inputs(spec: InputSpec, images: Iterable[Any]) -> np.ndarray | None:
    """Prepare images (paths or pixels) for a model of this spec, float32; None if there are none.

    Raises:
        OSError, ValueError: One of them cannot be read, or the model takes no images.
    """
    inputs = [spec.scale(read_image(image, spec)[np.newaxis].astype(np.float32)) for image in images]
    return np.concatenate(inputs) if inputs else None


def compared_samples(spec: InputSpec, samples: np.ndarray | None, batch: int | None) -> np.ndarray:
    """Return the inputs to compare with: the first of the samples, or synthetic images, in whole batches."""
    count = MOST_COMPARED if samples is not None else _MADE_UP
    if batch is not None:
        count = batch * max(1, count // batch)
    if samples is None:
        return _made_up(spec, count)
    shown = count if batch is not None else min(count, len(samples))
    return np.resize(samples, (shown, *samples.shape[1:]))  # repeats them if there are too few


def compare(
    model: Any,
    spec: InputSpec,
    run_batch: Callable[[np.ndarray], list[np.ndarray]],
    samples: np.ndarray,
    batch: int | None,
    scaling: Scaling | None = None,
) -> tuple[float, float | None]:
    """Measure how far the predictions of an exported file are from those of Keras.

    Args:
        model, spec: Model in Keras and its spec.
        run_batch: Function that predicts with the file, whose outputs are in the model's order.
        samples: Inputs of the file.
        batch: Images at a time; None for any number.
        scaling: Scaling of pixels that the file does before the model; None for none.

    Returns:
        The largest difference of an output, relative to the largest output if that is above 1; and the share of
        samples with the same prediction, None for a model without classes.
    """
    # Any number of images is tried with two numbers.
    places = [1] if batch is None else range(batch, len(samples), batch)
    batches = [part for part in np.split(samples, places) if len(part)]
    predicted = [run_batch(part) for part in batches]
    found = [np.concatenate(part) for part in zip(*predicted, strict=True)]
    parts = np.split(samples, range(_KERAS_BATCH, len(samples), _KERAS_BATCH))
    scale = spec._replace(scaling=scaling).scale
    given = (keras_outputs(model, scale(part.astype(np.float32, copy=False))) for part in parts)
    expected = [np.concatenate(part) for part in zip(*given, strict=True)]
    differences = [relative_difference(*pair) for pair in zip(found, expected, strict=True)]
    difference = float(np.max(differences))  # NaN where any is
    if spec.kind in ("features", "numbers"):
        return difference, None
    return difference, spec.agreement(found[0], expected[0])


def _made_up(spec: InputSpec, count: int) -> np.ndarray:
    """Return images of colored patches with some noise, always the same."""
    rng = np.random.default_rng(0)
    height, width = spec.image_sides
    patches = rng.uniform(0, 255, (count, 8, 8, spec.channels))
    pixels = patches[:, np.arange(height) * 8 // height][:, :, np.arange(width) * 8 // width]
    pixels = np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.float32)
    if not spec.channels_last:
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return spec.scale(pixels) if spec.scaling is not None else pixels / np.float32(127.5) - 1
