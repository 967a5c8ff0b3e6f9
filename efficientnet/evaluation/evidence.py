"""Heat maps of an evaluation's mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..explain.explaining import Explainer
from ..explain.overlay import overlay
from ..images.bands import as_rgb
from ..images.loading import load_image
from ..inference import ModelSource
from .figures import fit_thumbnail
from .report import Evaluation, ImagePrediction


def draw_worst(found: Evaluation, model: Any, without: str) -> tuple[list[NDArray[np.uint8]], str]:
    """Return the heat maps of an evaluation's worst mistakes, or none and why.

    Args:
        found: Evaluation.
        model: As in :func:`draw_evidence`; None if it is not there.
        without: Reason why it is not there.
    """
    mistakes = found.worst_mistakes()
    if model is None or not mistakes:
        return [], without
    try:
        return draw_evidence(model, mistakes, found.classes), ""
    except (ValueError, ImportError, MemoryError) as error:
        return [], str(error) or type(error).__name__


def draw_evidence(model: Any, mistakes: Sequence[ImagePrediction], classes: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Return for each mistake a thumbnail with the evidence for the class that was predicted (Grad-CAM).

    Args:
        model: Keras model, or a ``ModelSource``.
        mistakes: Predictions.
        classes: Names of the model's classes, no two the same.

    Raises:
        ValueError: The model cannot be explained.
        ImportError: Keras is not installed.
        OSError: An image or the model is no longer there.
    """
    source = model if isinstance(model, ModelSource) else ModelSource.of_model(model)
    explainer = Explainer(*source.load())
    index = {name: number for number, name in enumerate(classes)}

    def draw(path: Path, predicted: str) -> NDArray[np.uint8]:
        pixels = load_image(path, reduce=True, channels=explainer.spec.channels)
        (found,) = explainer(pixels, [index[predicted]])
        return fit_thumbnail(np.asarray(overlay(as_rgb(pixels), found)))

    return [draw(mistake.path, mistake.predicted) for mistake in mistakes]
