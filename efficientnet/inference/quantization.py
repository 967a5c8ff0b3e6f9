"""Graphs in 8-bit integers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from ..keras_graph import openvino

Item = TypeVar("Item")


# Of fewer images, none can be spared for measuring.
FEW = 12
_HELD_OUT_SHARE, _LEAST_HELD_OUT, _MOST_HELD_OUT = 0.2, 4, 20


def held_out(images: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Split images into those to find the ranges of 8-bit numbers with, and others to measure the result on.

    The latter are a fifth, 4 to 20, drawn at random and always the same; of fewer than 12 images, all are both.
    """
    if len(images) < FEW:
        return list(images), list(images)
    count = min(max(int(_HELD_OUT_SHARE * len(images)), _LEAST_HELD_OUT), _MOST_HELD_OUT)
    held = {*np.random.default_rng(0).permutation(len(images))[:count].tolist()}
    parts: tuple[list[Item], list[Item]] = ([], [])
    for place, image in enumerate(images):
        parts[place in held].append(image)
    return parts


def quantize(graph: Any, images: Sequence[np.ndarray]) -> Any:
    """Quantize an OpenVINO graph: weights and activations in 8 bits, with the ranges of the images' activations.

    Args:
        graph: Graph in float32, which stays unchanged.
        images: Inputs of the graph, a batch of one image each; a few hundred of the kind that it will see.

    Raises:
        ValueError: There are no images.
        ImportError: nncf is not installed; the message names the extra.
    """
    if not images:
        raise ValueError(
            "precision='int8' finds the ranges of its 8-bit numbers by calibration: pass calibration=, a few hundred "
            "images of the kind that the model will see (--calibrate FOLDER)."
        )
    if find_spec("nncf") is None:
        raise ImportError("precision='int8' needs nncf: pip install 'efficientnet[int8]>=2'.")
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    # A range for each channel, as depthwise convolutions have it by default, fits few images too closely.
    ranges = AdvancedQuantizationParameters(activations_quantization_params=QuantizationParameters(per_channel=False))
    with contextlib.redirect_stdout(sys.stderr):  # where its progress bars do not get between predictions
        return openvino.in_own_thread(
            lambda: nncf.quantize(
                graph,
                nncf.Dataset(list(images)),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                advanced_parameters=ranges,
            )
        )
