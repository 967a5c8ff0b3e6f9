"""The first kernel of a network for images of another number of channels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..common.text import get_logger
from ..errors import CheckpointError
from .arrays import Stored
from .reading import Reading

logger = get_logger()

_STEM = "stem_conv/kernel"


def with_channels(reading: Reading, channels: int) -> Reading:
    """Return a reading for images of this number of channels; see :func:`adapt`.

    Raises:
        CheckpointError: The weights are for another number of channels, which is neither 1 nor 3.
    """
    if reading.channels == channels:
        return reading
    if reading.channels not in (1, 3):
        raise CheckpointError(
            f"{reading.path} holds weights for inputs of {reading.channels} channels, not {channels}, and only weights "
            f"for 1 or 3 channels can be made for others: pass in_channels={reading.channels} or weights=None."
        )
    how = "summed over them" if channels == 1 else f"repeated and scaled by {reading.channels}/{channels}"
    logger.info("%s: weights for %d channels, the images have %d: the first kernel is %s.",
                reading.path, reading.channels, channels, how)  # fmt: skip
    return replace(reading, channels=channels, arrays={**reading.arrays, _STEM: adapt(reading.arrays[_STEM], channels)})


def adapt(kernel: Stored, channels: int) -> Stored:
    """Return the kernel, (height, width, channels, filters), for another number of channels.

    For a single channel it is the sum over all: a grey image gives what the image of equal channels gave. For several
    the channels are repeated in turn, and scaled so that equal channels give what they gave before.
    """
    height, width, theirs, filters = kernel.shape
    if theirs == channels:
        return kernel

    def read() -> np.ndarray:
        values = np.asarray(kernel.read(), np.float64)
        if channels == 1:
            values = values.sum(axis=2, keepdims=True)
        else:
            repeated = np.tile(values, (1, 1, math.ceil(channels / theirs), 1))
            values = repeated[:, :, :channels] * (theirs / channels)
        return values.astype(kernel.dtype)

    return Stored((height, width, channels, filters), kernel.dtype, read)
